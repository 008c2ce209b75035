"""Data sets of text by name: embedded ones, files, folders and those of tensorflow-datasets."""

import os
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, Dataset
from jaxmodels.data.kinds import count_endings, kind_of_files, readers_of, told_endings
from jaxmodels.data.split_names import split_of
from jaxmodels.data.text import pydoc
from jaxmodels.data.text.records import StoredTexts, TextFiles
from jaxmodels.data.tfds import describe_features, prepared_builder, tfds_dataset
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError
from jaxmodels.files import is_path

ENDINGS = (".txt", ".text", ".md", ".rst", ".tokens")


def open_text(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Opens `pydoc`, a file or folder of text (a path: with a separator or a dot in front), or a
    tfds data set with a text feature. Its splits are `TextRecords`.

    data_dir: the folder of tfds; None: tfds's own default.

    Raises:
      InputError: as `open_text_files` and `open_tfds_text`.
    """
    if name == pydoc.NAME:
        return pydoc.open_pydoc()
    path = Path(name).expanduser()
    if is_path(name):
        return open_text_files(path)
    try:
        return open_tfds_text(name, data_dir)
    except InputError as error:
        if path.exists():
            raise InputError(f"{error}. For the file or folder: --data ./{name}") from None
        if os.sep in name:
            raise InputError(f"{error}. There is no file or folder {path} either") from None
        raise


def open_text_files(path: Path) -> Dataset:
    """Opens a file of text, or the files of text below a folder (.txt, .text, .md, .rst, .tokens),
    in the order of their paths.

    The splits are what the folders at the top are called (train, validation, test, and other usual
    names), or files there, as train.txt or wiki.test.tokens; without such names, all is to train
    on. What is not read is noted on standard error. The fingerprint is of content and paths.

    Raises:
      InputError: nothing is there, no text, or splits without one to train on.
    """
    if path.is_dir():
        folder, found = path, _found_in(path)
    elif path.is_file():
        if kind := _other_kind(path.name):
            raise InputError(f"data '{path}' is no text: {readers_of(kind)}; expected a text file")
        folder, found = path.parent, {TRAIN: [path.name]}
    else:
        raise InputError(f"data '{path}' is no file or folder; expected a text file or a folder")
    real = Path(os.path.realpath(folder))
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(os.path.realpath(path)).name).lstrip(".") or "text"
    files = {file: real / file for files in found.values() for file in files}
    splits = {split: TextFiles(real, tuple(files)) for split, files in found.items()}
    return Dataset(name, "files", fingerprint_of(name, files, path), splits)


def _found_in(folder: Path) -> dict[str, list[str]]:
    """Returns the paths of the files of each split."""
    walked = walk(folder)
    texts = sorted(file for file in walked.files if file.lower().endswith(ENDINGS))
    counts = count_endings(file for file in walked.files if file not in set(texts))
    if not texts:
        message = f"data '{folder}' has no text; expected {', '.join(ENDINGS)}"
        if counts:
            message += f". It has {told_endings(counts)}"
        if (kind := kind_of_files(counts)) and kind != "text":
            message += f": {readers_of(kind)}"
        raise InputError(message)
    notes = [f"not read: {told_endings(counts)}"] if counts else []
    by_split = defaultdict(list)
    for file in texts:
        by_split[_split_of_path(file)].append(file)
    beside = by_split.pop(None, [])
    if by_split and TRAIN not in by_split:
        raise InputError(
            f"data '{folder}' has no training split; expected a folder train or a file train.txt."
            f" Found: {', '.join(by_split)}"
        )
    if by_split and beside:
        notes.append(f"not read: {len(beside)} files beside the splits, say {beside[0]}")
    notes += [f"skipped {what}" for what in walked.skipped]
    for note in notes:
        print(f"note: data '{folder}': {note}", file=sys.stderr)
    return dict(by_split) or {TRAIN: beside}


def _split_of_path(path: str) -> str | None:
    """Returns the split that the folder at the top names, or one part of the name of a file."""
    first, slash, _ = path.partition("/")
    if slash:
        return split_of(first)
    splits = {split_of(part) for part in first.split(".")} - {None}
    return splits.pop() if len(splits) == 1 else None


def _other_kind(name: str) -> str | None:
    kind = kind_of_files(count_endings([name]))
    return None if kind == "text" else kind


def open_tfds_text(name: str, data_dir: str | Path | None) -> Dataset:
    """Opens a data set that tfds has prepared as ArrayRecord. It has one text feature, or one that
    is called "text". Other features are not read.

    Raises:
      InputError: the data set is unknown, not prepared, in another format, has no such feature, or
        has no training split.
    """
    builder: Any = prepared_builder(name, data_dir, "text", "a text feature", (pydoc.NAME,))
    dataset = tfds_dataset(name, builder, {"text": _text_feature(name, builder)})
    splits = {split: StoredTexts(records) for split, records in dataset.splits.items()}
    facts = {"shuffled": not builder.info.disable_shuffling}
    return dataset._replace(splits=splits, facts=facts, older_fingerprint="")


def _text_feature(name: str, builder: Any) -> str:
    import tensorflow_datasets as tfds

    kind = tfds.features.Text
    found = [key for key, value in builder.info.features.items() if isinstance(value, kind)]
    if "text" in found:
        return "text"
    if len(found) != 1:
        raise InputError(
            f"data '{name}' has {len(found)} text features; expected one, or one called 'text'. Its"
            f" features: {describe_features(builder)}"
        )
    return found[0]


def in_order_of_keys(dataset: Dataset) -> dict[str, Any]:
    """Puts records of tfds into the order of the text that they are the lines of; returns those of
    other data as they are.

    tfds stores records in the order of a hash of their keys. Builders of line after line use the
    number of the line as the key, which is assumed here; any other keys say nothing of an order.
    """
    if not dataset.facts.get("shuffled"):
        return dict(dataset.splits)
    return {
        split: StoredTexts(records, _order(split, len(records)))
        for split, records in dataset.splits.items()
    }


def _order(split: str, count: int) -> Int[np.ndarray, " record"]:
    """Returns where tfds stores the records with the keys 0, 1, 2, ..."""
    from tensorflow_datasets.core.hashing import Hasher

    hasher = Hasher(split)
    hashes: Sequence[int] = [hasher.hash_key(key) for key in range(count)]
    places = np.empty(count, np.int64)
    places[sorted(range(count), key=hashes.__getitem__)] = np.arange(count)
    return places
