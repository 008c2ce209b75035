"""Sentences with labels as they are stored: of tfds, of CSV and TSV files, and in memory.

Records have the column "text", with several texts also "text2", as bytes, and "label", the number
of a class or -1. Those of files have "broken": whether a line has another number of values than
that of the names.
"""

import csv
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, ArrayRecords, Dataset, evaluation_splits
from jaxmodels.data.split_names import files_of_splits
from jaxmodels.data.tfds import describe_features, prepared_builder, tfds_dataset
from jaxmodels.errors import InputError

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
COLUMNS = ("text", "text2")  # of records
_TEXTS = ("text", "sentence", "review", "content")  # usual names
_LABELS = ("label", "sentiment", "polarity", "class", "target")
_LONGEST_FIELD = 1 << 26  # characters of a field of a file; csv's own limit is too low for books


class Wanted(NamedTuple):
    """The columns that a user names; empty: those of usual names."""

    texts: tuple[str, ...] = ()
    label: str = ""


def open_tfds(name: str, data_dir: str | None, wanted: Wanted, embedded: Sequence[str]) -> Dataset:
    """Opens a data set of tfds with a text feature, or two, and a label.

    Raises:
      InputError: it is unknown, not prepared, or has no such features.
    """
    import tensorflow_datasets as tfds

    builder: Any = prepared_builder(name, data_dir, "text", "text and a class label", embedded)
    features = builder.info.features
    texts = [key for key, kind in features.items() if isinstance(kind, tfds.features.Text)]
    labels = [key for key, kind in features.items() if isinstance(kind, tfds.features.ClassLabel)]
    told = f"data '{name}' has the features {describe_features(builder)}"
    found = Wanted(
        wanted.texts or _usual(texts, _TEXTS, told, "text", "--text-columns NAME"),
        wanted.label or _usual(labels, _LABELS, told, "class label", "--label-column NAME")[0],
    )
    missing = [key for key in (*found.texts, found.label) if key not in features]
    if missing:
        raise InputError(f"{told}; expected '{missing[0]}' among them")
    columns = dict(zip(COLUMNS, found.texts)) | {"label": found.label}
    return tfds_dataset(name, builder, columns)._replace(older_fingerprint="")


def open_files(path: Path, wanted: Wanted) -> Dataset:
    """Opens a CSV or TSV file with a line of names, or a folder of such files, whose names say the
    split: train.csv, validation.tsv, test.csv.gz. The classes are the labels of all files in the
    order of the alphabet, or of numbers.

    Raises:
      InputError: there is no such file, one that cannot be read, or no such column.
    """
    files = files_of_splits(path, ENDINGS, "is no table", "train.csv or train.tsv")
    tables = {split: _read(file, wanted) for split, file in files.items()}
    for split, table in tables.items():
        if not table.labels:
            raise InputError(
                f"data '{path}' has no line below the names in {files[split].name}; expected some"
            )
    labels = {value for table in tables.values() for value in table.labels if value}
    names = tuple(sorted(labels, key=_in_order))
    if not names:
        raise InputError(f"data '{path}' has no label; expected a class in each line")
    splits = {}
    for split in [TRAIN, *evaluation_splits(tables)]:
        texts, values, broken, lines = tables[split]
        known = {value: number for number, value in enumerate(names)}
        numbers = np.array([known.get(value, -1) for value in values], np.int32)
        keys = [f"{files[split].name}:{line}" for line in lines]
        splits[split] = _records(texts, {"label": numbers, "broken": np.array(broken)}, keys)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(os.path.realpath(path)).name).lstrip(".")
    content = fingerprint_of(name, {file.name: file for file in files.values()}, path)
    return Dataset(name or "sentences", "files", content, splits, {"label": names})


def in_memory(splits: Mapping[str, Iterable[Sequence]], name: str = "given") -> Dataset:
    """Makes a data set of lists: {"train": [(text, label), ...], "test": [...]}, or of (text, text,
    label). Labels are names of classes, or numbers.

    Raises:
      InputError: no training split, or examples of another form.
    """
    splits = {split: list(examples) for split, examples in splits.items()}
    if TRAIN not in splits:
        raise InputError(f"data has the splits {', '.join(splits) or 'none'}; expected '{TRAIN}'")
    examples = [one for some in splits.values() for one in some]
    if not all(
        len(one) in (2, 3) and all(isinstance(t, str) for t in one[:-1]) for one in examples
    ):
        raise InputError("data has other examples; expected (text, label) or (text, text, label)")
    names = tuple(sorted({str(one[-1]) for one in examples}, key=_in_order))
    digest, records = hashlib.sha256(), {}
    for split in [TRAIN, *evaluation_splits(splits)]:
        some = splits[split]
        columns = list(zip(*(one[:-1] for one in some)))
        texts = [[text.encode("utf-8", "surrogatepass") for text in column] for column in columns]
        labels = np.array([names.index(str(one[-1])) for one in some], np.int32)
        records[split] = _records(texts, {"label": labels})
        digest.update(repr((split, texts, labels.tolist())).encode())
    return Dataset(name, "memory", digest.hexdigest()[:16], records, {"label": names})


def _records(
    texts: Sequence[Sequence[bytes]],
    others: Mapping[str, np.ndarray],
    keys: Sequence[str] | None = None,
) -> ArrayRecords:
    columns = dict(others)
    for name, values in zip(COLUMNS, texts):
        columns[name] = np.empty(len(values), object)
        columns[name][:] = list(values)
    return ArrayRecords(columns, keys)


class _Table(NamedTuple):
    """The lines of a file."""

    texts: list[list[bytes]]  # by column
    labels: list[str]
    broken: list[bool]  # whether a line has another number of values than that of the names
    lines: list[int]  # that each begins with in the file, from 1


def _read(path: Path, wanted: Wanted) -> _Table:
    """Reads the texts and labels of a file. Bytes that are no UTF-8 stay what they are, so that the
    check names their lines.

    Raises:
      InputError: it cannot be read, or has no such column.
    """
    name = path.name.lower()
    opened = gzip.open if name.endswith(".gz") else open
    delimiter = "\t" if ".tsv" in name else ","
    # Text in TSV files has quotation marks of its own.
    options: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if delimiter == "\t" else {}
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            # The limit is one of the whole process.
            before = csv.field_size_limit(_LONGEST_FIELD)
            try:
                reader = csv.reader(file, delimiter=delimiter, **options)
                names = [name.strip() for name in next(reader, [])]
                numbered, last = [], reader.line_num
                for row in reader:
                    numbered += [(last + 1, row)] if row else []
                    last = reader.line_num
            finally:
                csv.field_size_limit(before)
    except (OSError, csv.Error, EOFError, zlib.error) as error:
        raise InputError(f"data '{path}' cannot be read: {error}") from None
    told = f"data '{path}' has the columns {', '.join(names) or 'none'}"
    texts = wanted.texts or _usual(names, _TEXTS, told, "text", "--text-columns NAME", False)
    label = wanted.label or _usual(names, _LABELS, told, "label", "--label-column NAME", False)[0]
    missing = [column for column in (*texts, label) if column not in names]
    if missing:
        raise InputError(f"{told}; expected '{missing[0]}' among them, in a line above the texts")
    lines, rows = [line for line, _ in numbered], [row for _, row in numbered]
    broken = [len(row) != len(names) for row in rows]
    whole = [[""] * len(names) if wrong else row for row, wrong in zip(rows, broken)]
    columns = [[row[names.index(column)] for row in whole] for column in texts]
    encoded = [[text.encode("utf-8", "surrogateescape") for text in column] for column in columns]
    labels = [row[names.index(label)].strip() for row in whole]
    return _Table(encoded, labels, broken, lines)


def _usual(
    found: Sequence[str], usual: Sequence[str], told: str, what: str, flag: str, only: bool = True
) -> tuple[str]:
    """Chooses the column of a usual name, or with `only` the only one.

    Raises:
      InputError: there is none.
    """
    for name in usual:
        if name in found:
            return (name,)
    if only and len(found) == 1:
        return (found[0],)
    raise InputError(f"{told}; expected one {what}: {flag}")


def _in_order(name: str) -> tuple[bool, float, str]:
    """Orders names: numbers by their values, before others."""
    is_number = re.fullmatch(r"[+-]?\d+", name) is not None
    return not is_number, float(name) if is_number else 0.0, name
