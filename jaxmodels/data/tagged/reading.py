"""Sentences of tagged words as they are stored: of JSON lines, CoNLL files, tfds, and in memory.

Records have the columns "words", a tuple of bytes, and "tags", a tuple of the numbers of tags. A
record that cannot be read has "broken", a BadRecord, which says why.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, ArrayRecords, BadRecord, Dataset, evaluation_splits
from jaxmodels.data.split_names import files_of_splits, read_unpacked
from jaxmodels.data.tfds import describe_features, prepared_builder, tfds_dataset
from jaxmodels.errors import InputError

_LINES = (".jsonl", ".jsonl.gz")
_COLUMNS = (".conll", ".conll.gz", ".bio", ".bio.gz", ".iob", ".iob.gz", ".iob2", ".iob2.gz")
ENDINGS = (*_LINES, *_COLUMNS)
_WORDS = ("tokens", "words")  # usual names
_TAGS = ("tags", "ner_tags", "ner", "labels")
_TAG = re.compile(r"O|[BIES]-\S+")
OUTSIDE = "O"


class Sentence(NamedTuple):
    """A sentence as it is written.

    tags: names, or numbers where the data name them elsewhere.
    """

    words: tuple[str | bytes, ...]
    tags: tuple[str | int, ...]


def open_tfds(
    name: str, data_dir: str | None, tags_column: str, names: Sequence[str], embedded: Sequence[str]
) -> Dataset:
    """Opens a data set of tfds with sequences of texts and of class labels, as conll2003 has.

    names: of the tags; empty: those of the feature.

    Raises:
      InputError: it is unknown, not prepared, or has no such features.
    """
    builder: Any = prepared_builder(name, data_dir, "text", "words and their tags", embedded)
    features = builder.info.features
    told = f"data '{name}' has the features {describe_features(builder)}"
    words = next((key for key in _WORDS if key in features), None)
    tags = tags_column or next((key for key in _TAGS if key in features), None)
    if words is None or tags is None or tags not in features:
        wanted = f"'{tags_column}'" if tags_column else f"one of {', '.join(_TAGS)}"
        raise InputError(
            f"{told}; expected sequences of words (tokens) and of tags ({wanted}): --tags-column"
            " NAME"
        )
    found = tfds_dataset(name, builder, {"words": words, "tags": tags})
    given = tuple(names) or found.names.get("tags", ())
    return found._replace(
        names={"tags": required_tags(given, told)}, older_fingerprint="", facts={}
    )


def open_files(path: Path, tags_column: str, names: Sequence[str]) -> Dataset:
    """Opens a file of JSON lines with "tokens" and "tags", or a CoNLL file (a word and its tag a
    line, a blank line between sentences), or a folder of such files, whose names say the split:
    train.jsonl, test.conll, ...

    tags_column: the name of the field, or the number of the column from 1; empty: of a usual name,
      or the last column.
    names: of the tags; empty: the well-formed tags of the training file.

    Raises:
      InputError: there is no such file, one that cannot be read, or no tag in it.
    """
    wanted = "train.jsonl or train.conll"
    files = files_of_splits(path, ENDINGS, "is no file of tagged words", wanted)
    files = {split: files[split] for split in [TRAIN, *evaluation_splits(files)]}
    read = {split: list(_read(file, tags_column)) for split, file in files.items()}
    for split, some in read.items():
        if not some:
            raise InputError(f"data '{files[split]}' has no sentence; expected some")
    line, first = read[TRAIN][0]
    if not names and all(isinstance(sentence, BadRecord) for _, sentence in read[TRAIN]):
        raise InputError(f"data '{files[TRAIN]}' has no good sentence; line {line} {first}")
    names = required_tags(names or _names_in(read[TRAIN]), f"data '{path}'")
    splits = {
        split: records_of(
            [sentence for _, sentence in some],
            names,
            [f"{files[split].name}:{line}" for line, _ in some],
        )
        for split, some in read.items()
    }
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(os.path.realpath(path)).name).lstrip(".")
    content = fingerprint_of(name, {file.name: file for file in files.values()}, path)
    return Dataset(name or "tagged", "files", content, splits, {"tags": names})


def in_memory(
    splits: Mapping[str, Iterable[Sequence]], names: Sequence[str] = (), name: str = "given"
) -> Dataset:
    """Makes a data set of lists: {"train": [(words, tags), ...], "test": [...]}.

    Raises:
      InputError: no training split, or examples of another form.
    """
    given = {split: list(examples) for split, examples in splits.items()}
    if not given.get(TRAIN):
        raise InputError(f"data has the splits {', '.join(given) or 'none'}; expected '{TRAIN}'")
    if any(
        len(one) != 2 or any(isinstance(part, str) for part in one)
        for some in given.values()
        for one in some
    ):
        raise InputError("data has other examples; expected (words, tags), two lists")
    read = {
        split: [Sentence(tuple(words), tuple(tags)) for words, tags in given[split]]
        for split in [TRAIN, *evaluation_splits(given)]
    }
    names = required_tags(names or _names_in(enumerate(read[TRAIN])), "data")
    digest = hashlib.sha256(repr((read, names)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    records = {split: records_of(some, names) for split, some in read.items() if some}
    return Dataset(name, "memory", digest, records, {"tags": names})


def required_tags(names: Iterable[str], told: str) -> tuple[str, ...]:
    """Requires names of tags that mark entities.

    Raises:
      InputError: no O, none but O, or one of another form.
    """
    names = tuple(names)
    wrong = [name for name in names if not _TAG.fullmatch(name)]
    if wrong or OUTSIDE not in names or len(names) < 2 or len(set(names)) < len(names):
        having = f"the tag '{wrong[0]}'" if wrong else f"the tags {', '.join(names) or 'none'}"
        raise InputError(f"{told} has {having}; expected O, B-KIND and I-KIND: --tag-names O ...")
    return names


def records_of(
    sentences: Sequence[Sentence | BadRecord],
    names: Sequence[str],
    keys: Sequence[str] | None = None,
) -> ArrayRecords:
    """Makes records of sentences; tags become numbers of these names."""
    columns = {name: np.empty(len(sentences), object) for name in ("words", "tags", "broken")}
    numbers = {name: number for number, name in enumerate(names)}
    for row, sentence in enumerate(sentences):
        numbered = _numbered(sentence, numbers)
        columns["broken"][row] = numbered if isinstance(numbered, BadRecord) else None
        words, tags = ((), ()) if isinstance(numbered, BadRecord) else numbered
        columns["words"][row], columns["tags"][row] = words, tags
    return ArrayRecords(columns, keys)


def _numbered(sentence: Sentence | BadRecord, numbers: Mapping[str, int]) -> Any:
    """Gives words as bytes and tags as numbers, or says what is wrong with them."""
    if isinstance(sentence, BadRecord):
        return sentence
    tags = []
    for tag in sentence.tags:
        is_number = isinstance(tag, int | np.integer) and not isinstance(tag, bool)
        number = int(tag) if is_number else numbers.get(str(tag), -1)
        if not 0 <= number < len(numbers):
            fault = "unknown" if is_number or _TAG.fullmatch(str(tag)) else "ill-formed"
            return BadRecord(f"has the {fault} tag {str(tag)[:40]!r}; {_known(numbers)}", "tag")
        tags.append(number)
    if not all(isinstance(word, str | bytes) for word in sentence.words):
        return BadRecord("has a word that is no text", "undecodable")
    words = [
        word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word
        for word in sentence.words
    ]
    return tuple(words), tuple(tags)


def _known(numbers: Mapping[str, int]) -> str:
    shown = ", ".join([*numbers][:9]) + (", ..." if len(numbers) > 9 else "")
    return f"known are {shown}"


def _names_in(read: Iterable[tuple[Any, Any]]) -> tuple[str, ...]:
    """Lists the well-formed tags of sentences: O, then by kind."""
    found = {
        tag
        for _, sentence in read
        if not isinstance(sentence, BadRecord)
        for tag in sentence.tags
        if isinstance(tag, str) and _TAG.fullmatch(tag)
    }
    return (OUTSIDE, *sorted(found - {OUTSIDE}, key=lambda tag: (tag[2:], tag)))


def _read(path: Path, tags_column: str) -> Iterator[tuple[int, Sentence | BadRecord]]:
    """Yields each sentence of a file with the number of its first line.

    Raises:
      InputError: the file cannot be read.
    """
    lines = read_unpacked(path).splitlines()
    if path.name.lower().endswith(_LINES):
        yield from json_sentences(lines, tags_column)
    else:
        yield from conll_sentences(lines, _column(tags_column))


def _column(text: str) -> int:
    if text and not (text.isdigit() and int(text) > 1):
        raise InputError(
            f"tags_column = {text}; expected the number of a column of a CoNLL file behind that of"
            " the words, from 2"
        )
    return int(text) - 1 if text else -1


def json_sentences(
    lines: Iterable[bytes], tags_column: str = "", tagged: bool = True
) -> Iterator[tuple[int, Sentence | BadRecord]]:
    """Yields the sentence of each line that is not blank: {"tokens": [...], "tags": [...]}.

    tagged: a sentence without tags is bad; otherwise tags are not looked at.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, BadRecord(f"is no JSON in UTF-8: {error}", "undecodable")
            continue
        fields = content if isinstance(content, dict) else {}
        words = next((fields[name] for name in _WORDS if name in fields), None)
        tag_names = (tags_column,) if tags_column else _TAGS
        tags = next((fields[name] for name in tag_names if name in fields), None)
        if not isinstance(words, list) or (tagged and not isinstance(tags, list)):
            lacks = f"'{tag_names[0]}'" if isinstance(words, list) else "'tokens'"
            yield number, BadRecord(f"lacks the list {lacks}", "broken")
        else:
            yield number, Sentence(tuple(words), tuple(tags) if tagged and tags else ())


def conll_sentences(
    lines: Iterable[bytes], column: int = -1, tagged: bool = True
) -> Iterator[tuple[int, Sentence | BadRecord]]:
    """Yields the sentences that blank lines divide; the first column is a word, `column` its tag.
    Lines that begin with -DOCSTART- divide as well.

    tagged: as in `json_sentences`.
    """
    rows: list[list[bytes]] = []
    first = 1
    for number, line in enumerate([*lines, b""], 1):
        row = line.split()
        if row and row[0] != b"-DOCSTART-":
            first = first if rows else number
            rows.append(row)
        elif rows:
            yield first, _of_rows(rows, column, first, tagged)
            rows = []


def _of_rows(
    rows: Sequence[Sequence[bytes]], column: int, first: int, tagged: bool
) -> Sentence | BadRecord:
    words = tuple(row[0] for row in rows)
    if not tagged:
        return Sentence(words, ())
    for number, row in enumerate(rows, first):
        if len(row) <= max(column, 1):
            return BadRecord(f"has no tag in line {number}", "lengths")
    tags = [row[column].decode("utf-8", "replace") for row in rows]
    return Sentence(words, tuple(tags))
