"""A folder of pictures with files of boxes, as the readers of the formats see it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from jaxmodels.data.dataset import TRAIN
from jaxmodels.data.images.folder import EXTENSIONS
from jaxmodels.data.split_names import split_of
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError

_MOST_BYTES = 1 << 31  # of a file of boxes


class Tree(NamedTuple):
    """What lies in a folder, by paths below it with slashes, sorted."""

    where: str  # how its user calls it
    root: Path
    files: tuple[str, ...]
    pictures: frozenset[str]

    def read_text(self, path: str) -> str:
        """Reads a file of text.

        Raises:
          ValueError, OSError: it is none, is longer than 2 GiB, or cannot be read.
        """
        file = self.root / path
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError(f"has more than {_MOST_BYTES:,} bytes")
        return file.read_text("utf-8-sig")


class Item(NamedTuple):
    """One picture and its objects.

    path: below the folder; "": the file is missing. key: the name of the record. objects: values as
    `jaxmodels.data.boxes.records` has them, and perhaps "declared", the height and width that the
    file of boxes says, and "broken", why its boxes cannot be read.
    """

    path: str
    key: str
    objects: Mapping[str, Any]


class Found(NamedTuple):
    """What the reader of a format has found: the pictures of each split, the names of the classes,
    and the files that were read."""

    splits: Mapping[str, list[Item]]
    names: tuple[str, ...]
    read: tuple[str, ...]


def open_tree(root: Path, where: str) -> Tree:
    """Lists a folder.

    Raises:
      InputError: it cannot be listed.
    """
    files = tuple(sorted(walk(root).files))
    pictures = frozenset(path for path in files if path.lower().endswith(EXTENSIONS))
    return Tree(where, root, files, pictures)


def split_by_folder(path: str) -> str | None:
    """Returns the split that a folder above a file names; None without one."""
    for part in PurePosixPath(path).parent.parts:
        if split := split_of(part):
            return split
    return None


def split_by_words(path: str) -> str | None:
    """Returns the split that is named by a word of the file's name or of a folder above it, as in
    annotations/instances_val2017.json; of several the last. None without one."""
    for part in reversed(PurePosixPath(path).parts):
        for word in re.split(r"[^A-Za-z]+", part):
            if split := split_of(word):
                return split
    return None


def divided(where: str, items: Iterable[tuple[str | None, Item]]) -> dict[str, list[Item]]:
    """Divides items by their splits; all are to train on if none names a split.

    Raises:
      InputError: there are splits, but none to train on, or pictures outside of all of them.
    """
    splits: dict[str | None, list[Item]] = {}
    for split, item in items:
        splits.setdefault(split, []).append(item)
    loose = splits.pop(None, [])
    if not splits:
        splits[TRAIN] = loose
    elif loose:
        raise InputError(
            f"data '{where}' has pictures with boxes outside of its splits"
            f" ({', '.join(map(str, splits))}), say {loose[0].key}; expected all in folders like"
            " train, validation and test, or none"
        )
    if TRAIN not in splits:
        raise InputError(
            f"data '{where}' has no training split; expected one like train. Found:"
            f" {', '.join(map(str, splits))}"
        )
    return {str(split): found for split, found in splits.items()}
