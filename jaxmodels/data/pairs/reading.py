"""Pairs of texts as they are stored: of tfds, of files, and in memory.

Records have the columns "source" and "target", as bytes. Those of files have "broken": whether a
line lacks one of them.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, ArrayRecords, Dataset, evaluation_splits
from jaxmodels.data.split_names import read_unpacked, split_of
from jaxmodels.data.tfds import describe_features, prepared_builder, tfds_dataset
from jaxmodels.errors import InputError

_TABLES = (".tsv", ".tsv.gz", ".txt", ".txt.gz")
_MORE_SPLITS = {"dev": "validation"}  # as corpora of translation call it
# Names that columns of pairs usually have.
_LIKE_NAME = re.compile(
    r"[a-z]{2,3}(_[a-z]{2,4})?|source|target|src|tgt|input|output|text\d?|sentence\d?",
    re.IGNORECASE,
)


class Pair(NamedTuple):
    """What a pair is made of: names of features or columns, endings of files, or numbers of
    columns; empty: the first two, of features in the order of the alphabet."""

    source: str = ""
    target: str = ""

    @classmethod
    def of(cls, text: str) -> "Pair":
        """Reads SOURCE-TARGET.

        Raises:
          InputError: another form.
        """
        names = text.split("-")
        if not text:
            return cls()
        if len(names) != 2 or not all(names) or names[0] == names[1]:
            raise InputError(f"pair = {text}; expected SOURCE-TARGET, as de-en")
        return cls(*names)


def open_tfds(name: str, data_dir: str | None, pair: Pair, embedded: Sequence[str]) -> Dataset:
    """Opens a data set of tfds with two text features, as those of translation have.

    Raises:
      InputError: it is unknown, not prepared, or has no such features.
    """
    import tensorflow_datasets as tfds

    builder: Any = prepared_builder(name, data_dir, "text", "a pair of texts", embedded)
    # Features are read in any order, which is not the same in every process.
    features = sorted(builder.info.features.items())
    texts = [key for key, kind in features if isinstance(kind, tfds.features.Text)]
    told = f"data '{name}' has the features {describe_features(builder)}"
    if not pair.source and len(texts) != 2:
        raise InputError(f"{told}; expected two texts: --pair SOURCE-TARGET")
    chosen = pair if pair.source else Pair(*texts)
    missing = [key for key in chosen if key not in texts]
    if missing:
        raise InputError(f"{told}; expected the text '{missing[0]}' among them, as --pair says")
    columns = {"source": chosen.source, "target": chosen.target}
    found = tfds_dataset(name, builder, columns)
    return found._replace(older_fingerprint="", name=found.name.replace("/", "_"))


def is_files(path: Path, pair: Pair) -> bool:
    """Tells whether a path is a prefix of two files: train of train.de and train.en."""
    return bool(pair.source) and all(_beside(path, ending).is_file() for ending in pair)


def open_files(path: Path, pair: Pair) -> Dataset:
    """Opens a TSV file, a pair of files (given as their common prefix) whose lines belong together,
    or a folder of such files, whose names say the split: train.tsv, or train.de and train.en.

    The first line of a TSV file names its columns if the names of the pair are in it; otherwise the
    first two columns count, or those that the pair numbers from 1.

    Raises:
      InputError: there is no such file, one that cannot be read, no such column, or two files with
        different numbers of lines.
    """
    files = _files_of(path, pair)
    splits, read = {}, {}
    for split in [TRAIN, *evaluation_splits(files)]:
        some = files[split]
        sides = _table(some[0], pair) if len(some) == 1 else _both(some)
        keys = [f"{some[0].name}:{row}" for row in sides.lines]
        columns = {"broken": np.array(sides.broken, bool)}
        splits[split] = _records(sides.source, sides.target, keys, columns, some[0])
        read |= {file.name: file for file in some}
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(os.path.realpath(path)).name).lstrip(".")
    content = fingerprint_of(name, read, path if path.exists() else path.parent)
    return Dataset(name or "pairs", "files", content, splits)


def in_memory(splits: Mapping[str, Iterable[Sequence[str]]], name: str = "given") -> Dataset:
    """Makes a data set of lists: {"train": [(source, target), ...], "test": [...]}.

    Raises:
      InputError: no training split, or examples of another form.
    """
    given = {split: list(examples) for split, examples in splits.items()}
    if TRAIN not in given:
        raise InputError(f"data has the splits {', '.join(given) or 'none'}; expected '{TRAIN}'")
    examples = [one for some in given.values() for one in some]
    if not all(len(one) == 2 and all(isinstance(text, str) for text in one) for one in examples):
        raise InputError("data has other examples; expected (source, target), two strings")
    digest, records = hashlib.sha256(), {}
    for split in [TRAIN, *evaluation_splits(given)]:
        sides = [
            [one[side].encode("utf-8", "surrogatepass") for one in given[split]] for side in (0, 1)
        ]
        records[split] = _records(sides[0], sides[1], None, {}, name)
        digest.update(repr((split, sides)).encode())
    return Dataset(name, "memory", digest.hexdigest()[:16], records)


class _Sides(NamedTuple):
    """The lines of a split."""

    source: list[bytes]
    target: list[bytes]
    broken: list[bool]
    lines: list[int]  # their numbers in the file, from 1


def _records(source, target, keys, columns: dict, where) -> ArrayRecords:
    if not source:
        raise InputError(f"data '{where}' has no pair of texts; expected some")
    for name, values in (("source", source), ("target", target)):
        columns[name] = np.empty(len(values), object)
        columns[name][:] = values
    return ArrayRecords(columns, keys)


def _files_of(path: Path, pair: Pair) -> dict[str, tuple[Path, ...]]:
    if is_files(path, pair):
        return {TRAIN: tuple(_beside(path, ending) for ending in pair)}
    if path.is_file():
        if not path.name.lower().endswith(_TABLES):
            raise InputError(
                f"data '{path}' is no table of pairs; expected {', '.join(_TABLES)}, or the common"
                " beginning of two files with --pair, as corpus/train of train.de and train.en"
            )
        return {TRAIN: (path,)}
    if not path.is_dir():
        raise InputError(f"data '{path}' is no file or folder; expected a TSV file or a folder")
    files: dict[str, tuple[Path, ...]] = {}
    for file in sorted(path.iterdir()):
        stem, _, ending = file.name.partition(".")
        split = split_of(stem) or _MORE_SPLITS.get(stem.casefold())
        both = tuple(_beside(path / stem, ending) for ending in pair)
        if not split or not file.is_file():
            continue
        if pair.source and ending == pair.source and both[1].is_file():
            found = both
        elif file.name.lower().endswith(_TABLES):
            found = (file,)
        else:
            continue
        if split in files:
            raise InputError(
                f"data '{path}' has {files[split][0].name} and {found[0].name}; keep one"
            )
        files[split] = found
    if TRAIN not in files:
        raise InputError(
            f"data '{path}' has no training split; expected train.tsv, or train.de and train.en"
            " with --pair de-en"
        )
    return files


def _beside(prefix: Path, ending: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{ending}")


def _both(files: Sequence[Path]) -> _Sides:
    """Reads two files whose lines belong together."""
    source, target = (_lines(file) for file in files)
    if len(source) != len(target):
        raise InputError(
            f"data has {len(source):,} lines in {files[0].name} and {len(target):,} in"
            f" {files[1].name}; expected as many, each the translation of the other's"
        )
    return _Sides(source, target, [False] * len(source), list(range(1, len(source) + 1)))


def _table(path: Path, pair: Pair) -> _Sides:
    """Reads a TSV file."""
    rows = [line.split(b"\t") for line in _lines(path)]
    numbers = list(range(1, len(rows) + 1))
    names = [name.strip().decode("utf-8", "replace") for name in (rows[0] if rows else [])]
    if pair.source and all(name in names for name in pair):
        places = [names.index(name) for name in pair]
        rows, numbers = rows[1:], numbers[1:]
    elif not pair.source:
        places = [0, 1]
        _note_names(path, names)
    elif all(name.isdigit() and int(name) for name in pair):
        places = [int(name) - 1 for name in pair]
    else:
        raise InputError(
            f"data '{path}' has the columns {', '.join(names)[:200] or 'none'}; expected"
            f" {pair.source} and {pair.target} among them, or --pair with numbers of columns, as"
            " 2-1"
        )
    broken = [len(row) <= max(places) for row in rows]
    sides = [[b"" if wrong else row[place] for row, wrong in zip(rows, broken)] for place in places]
    return _Sides(sides[0], sides[1], broken, numbers)


def _note_names(path: Path, first: Sequence[str]) -> None:
    """Notes on standard error that a first line which looks like names of columns is none."""
    if len(first) > 1 and all(_LIKE_NAME.fullmatch(text) for text in first[:2]):
        print(
            f"note: the first line of {path.name}, '{first[0]}' and '{first[1]}', is taken for a"
            f" pair of texts; if it names the columns: --pair {first[0]}-{first[1]}",
            file=sys.stderr,
        )


def _lines(path: Path) -> list[bytes]:
    text = read_unpacked(path)
    lines = text.removesuffix(b"\n").split(b"\n")
    return [line.removesuffix(b"\r") for line in lines] if text.strip() else []
