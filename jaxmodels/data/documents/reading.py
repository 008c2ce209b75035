"""Documents with summaries as they are stored: of tfds, of JSON lines, and in memory.

Records have "document", a text or its sentences, and "summaries", one text or several, as bytes.
Those of files have "broken": why a line is no such object, or "".
"""

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, ArrayRecords, Dataset, Record, evaluation_splits
from jaxmodels.data.split_names import files_of_splits
from jaxmodels.data.tfds import describe_features, prepared_builder, tfds_dataset
from jaxmodels.errors import InputError

ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson")
_DOCUMENTS = ("source", "document", "article", "text", "dialogue", "content")  # usual names
_SUMMARIES = ("target", "summary", "summaries", "highlights", "abstract", "tldr")


class Wanted(NamedTuple):
    """The columns that a user names; empty: those of usual names."""

    document: str = ""
    summary: str = ""


def texts_in(value: bytes | Sequence[bytes] | np.ndarray) -> list[bytes]:
    """Returns the texts of a column of a record that has one or several."""
    return [value] if isinstance(value, bytes) else list(value)


def open_tfds(name: str, data_dir: str | None, wanted: Wanted, embedded: Sequence[str]) -> Dataset:
    """Opens a data set of tfds with a document and a summary, or sequences of texts.

    Raises:
      InputError: it is unknown, not prepared, or has no such features.
    """
    builder: Any = prepared_builder(name, data_dir, "text", "a document and a summary", embedded)
    features = builder.info.features
    texts = [key for key, kind in features.items() if _is_text(kind)]
    told = f"data '{name}' has the features {describe_features(builder)}"
    columns = {
        "document": wanted.document
        or _usual(texts, _DOCUMENTS, told, "document", "--document-column NAME"),
        "summaries": wanted.summary
        or _usual(texts, _SUMMARIES, told, "summary", "--summary-column NAME"),
    }
    missing = [key for key in columns.values() if key not in texts]
    if missing:
        raise InputError(f"{told}; expected '{missing[0]}' among them, as text")
    return tfds_dataset(name, builder, columns)._replace(older_fingerprint="")


def _is_text(kind: Any) -> bool:
    import tensorflow_datasets as tfds

    inner = kind.feature if isinstance(kind, tfds.features.Sequence) else kind
    return isinstance(inner, tfds.features.Text)


def open_files(path: Path, wanted: Wanted) -> Dataset:
    """Opens a file of JSON lines, or a folder of such files whose names say the split: train.jsonl,
    validation.jsonl, test.jsonl.gz. Each line is an object with a document (a text, or a list of
    sentences) and a summary, or a list of summaries.

    Raises:
      InputError: there is no such file, or one that cannot be read.
    """
    files = files_of_splits(path, ENDINGS, "has no JSON lines", "train.jsonl")
    splits = {}
    for split in [TRAIN, *evaluation_splits(files)]:
        numbered = _lines_of(files[split], path)
        records = [_of_line(line, wanted) for _, line in numbered]
        keys = [f"{files[split].name}:{number}" for number, _ in numbered]
        splits[split] = _records(records, keys)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(os.path.realpath(path)).name).lstrip(".")
    content = fingerprint_of(name, {file.name: file for file in files.values()}, path)
    return Dataset(name or "documents", "files", content, splits)


def in_memory(splits: Mapping[str, Iterable[Sequence]], name: str = "given") -> Dataset:
    """Makes a data set of lists: {"train": [(document, summary), ...], "test": [...]}. A document
    may be a list of its sentences, and a summary a list of several.

    Raises:
      InputError: no training split, or examples of another form.
    """
    splits = {split: list(examples) for split, examples in splits.items()}
    if not splits.get(TRAIN):
        raise InputError(f"data has the splits {', '.join(splits) or 'none'}; expected '{TRAIN}'")
    digest, records = hashlib.sha256(), {}
    for split in [TRAIN, *evaluation_splits(splits)]:
        found = [_of_pair(one) for one in splits[split]]
        records[split] = _records(found)
        digest.update(repr((split, [tuple(one.values()) for one in found])).encode())
    return Dataset(name, "memory", digest.hexdigest()[:16], records)


def _of_pair(example: Any) -> Record:
    is_pair = isinstance(example, tuple | list) and len(example) == 2
    if not is_pair or not all(map(_are_texts, example)):
        raise InputError(
            "data has other examples; expected (document, summary), each a text or a list of texts"
        )
    document, summaries = map(_encoded, example)
    return {"document": document, "summaries": summaries, "broken": ""}


def _are_texts(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
    )


def _encoded(value: str | Sequence[str]) -> list[bytes]:
    return [_bytes_of(text) for text in ([value] if isinstance(value, str) else value)]


def _bytes_of(text: str) -> bytes:
    """Encodes a text. Half of a surrogate pair becomes bytes that are no UTF-8, so that the check
    finds the record and names it."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _records(records: Sequence[Record], keys: Sequence[str] | None = None) -> ArrayRecords:
    columns = {}
    for name in ("document", "summaries", "broken"):
        columns[name] = np.empty(len(records), object)
        for row, record in enumerate(records):
            columns[name][row] = record[name]
    return ArrayRecords(columns, keys)


def _of_line(line: bytes, wanted: Wanted) -> Record:
    nothing = {"document": [], "summaries": []}
    try:
        content = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        return {**nothing, "broken": f"is no JSON: {error}"}
    if not isinstance(content, dict):
        return {**nothing, "broken": "is no JSON object"}
    record: dict[str, Any] = {"broken": ""}
    for column, given, usual in (
        ("document", wanted.document, _DOCUMENTS),
        ("summaries", wanted.summary, _SUMMARIES),
    ):
        name = next((name for name in ((given,) if given else usual) if name in content), None)
        if name is None or not _are_texts(content[name]):
            expected = f"'{given or column.replace('ies', 'y')}'"
            return {**nothing, "broken": f"has no text {expected}, nor a list of texts"}
        record[column] = _encoded(content[name])
    return record


def _lines_of(file: Path, path: Path) -> list[tuple[int, bytes]]:
    """Reads the lines that are not blank, with their numbers in the file, from 1."""
    try:
        content = file.read_bytes()
        if file.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"data '{path}' cannot be read: {file.name}: {error}") from None
    numbered = enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
    lines = [(number, line) for number, line in numbered if line.strip()]
    if not lines:
        raise InputError(f"data '{path}' has no line in {file.name}; expected a JSON object a line")
    return lines


def _usual(found: Sequence[str], usual: Sequence[str], told: str, what: str, flag: str) -> str:
    """Chooses the column of a usual name.

    Raises:
      InputError: there is none.
    """
    for name in usual:
        if name in found:
            return name
    raise InputError(f"{told}; expected one {what}: {flag}")
