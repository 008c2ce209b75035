"""Data sets of image files in folders."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, BadRecord, Dataset, Record
from jaxmodels.data.images.layout import Tree, find_splits, ignored_folders, place_of
from jaxmodels.data.kinds import count_endings, kind_of_files, readers_of, told_endings
from jaxmodels.data.walking import Walked, open_regular, walk
from jaxmodels.errors import InputError

_FIRST = (".png", ".jpg", ".jpeg", ".bmp", ".webp")  # what the older fingerprint is of
EXTENSIONS = (*_FIRST, ".jfif", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".ppm", ".pgm")
# Pictures that OpenCV does not decode.
_UNREAD = (".heic", ".heif", ".svg", ".psd", ".ico", ".raw", ".dng", ".cr2", ".nef", ".arw")
_UNREAD += (".jxl", ".eps", ".pdf", ".xcf", ".tga", ".exr", ".hdr", ".dcm", ".nii", ".npy")


_PHONES = (".heic", ".heif")


class FolderImages:
    """`Records` of files: their paths below a folder, and the labels of their classes.

    labels: those of the files; None: the images have none.
    """

    def __init__(self, folder: Path, paths: Sequence[str], labels: np.ndarray | None):
        self._folder, self._paths, self._labels = folder, paths, labels

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads the encoded "image" of each row and, if there are labels, its "label"."""
        if self._labels is None:
            return [{"image": self._bytes(row)} for row in rows]
        return [{"image": self._bytes(row), "label": int(self._labels[row])} for row in rows]

    def key(self, row: int) -> str:
        """Returns the path below the folder, with slashes."""
        return self._paths[row]

    def _bytes(self, row: int) -> bytes:
        return read_picture(self._folder / self._paths[row])


def read_picture(path: Path) -> bytes:
    """Reads the bytes of a picture's file.

    Raises:
      BadRecord: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise BadRecord(f"cannot be read: {error.strerror}", "unreadable") from None


def open_image_folder(folder: Path) -> Dataset:
    """Opens the images in folder/train/CLASS and, if they exist, in validation and test; or those
    in folder/CLASS, all of them to train on. Without folders of classes the images have no labels.
    Images in folders below a class belong to it. Links are followed once. Files that OpenCV does
    not decode are named on standard error and left out.

    Splits may have other usual names (val, Valid, Training, testing, ...; see `layout`). The
    fingerprint is of the content of the images and of their paths below the folder.

    Raises:
      InputError: no such folder, without images or without a training split, images beside folders
        of classes, folders that may be classes or splits, splits that do not have the same classes,
        a class whose pictures cannot be read, or folders that cannot be listed.
    """
    if not os.path.isdir(folder):
        raise InputError(f"data '{folder}' is no folder; expected one with images in train/CLASS")
    walked = walk(folder, place_of)
    images = sorted(path for path in walked.files if path.lower().endswith(EXTENSIONS))
    if not images:
        raise InputError(_nothing_to_see(folder, walked))
    tree = Tree(str(folder), images, walked.folders)
    splits = find_splits(tree)
    found = {split: _of_classes(folder, images, below) for split, below in splits.items()}
    names = sorted({name for name, _ in found[TRAIN]} - {""})
    _tell_what_is_left_out(tree, walked, splits, names)
    records = {}
    for split, pairs in found.items():
        unknown = sorted({name for name, _ in pairs} - set(names or [""]))
        if unknown:
            raise InputError(
                f"data '{folder}' has {_called(unknown[0])} in {split}, which train lacks;"
                f" expected {', '.join(names) or 'images without folders of classes'}"
            )
        labels = np.array([names.index(name) for name, _ in pairs], np.int32) if names else None
        paths = tuple(path for _, path in pairs)
        records[split] = FolderImages(Path(os.path.realpath(folder)), paths, labels)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(os.path.realpath(folder)).name).lstrip(".")
    name = name or "images"
    used = {path: folder / path for pairs in found.values() for _, path in pairs}
    return Dataset(
        name,
        "folder",
        fingerprint_of(name, used, folder),
        records,
        {"label": tuple(names)},
        older_fingerprint=_older_fingerprint(walked),
    )


def _older_fingerprint(walked: Walked) -> str:
    """Hashes paths, sizes and times, as runs did before content was hashed."""
    files = {
        path: (facts.st_size, facts.st_mtime_ns) if facts else (-1, -1)
        for path, facts in walked.files.items()
        if path.lower().endswith(_FIRST)
    }
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()[:16]


def _of_classes(folder: Path, images: Sequence[str], below: str) -> list[tuple[str, str]]:
    """Returns class ("": none) and path of every image of a split, whose folder is `below`."""
    start = f"{below}/" if below else ""
    pairs = []
    for path in images:
        if path.startswith(start):
            name, slash, _ = path[len(start) :].partition("/")
            pairs.append((name if slash else "", path))
    where = f"data '{folder}'" + (f" in {below}" if below else "")
    if not pairs:
        raise InputError(f"{where} has no images; expected {', '.join(EXTENSIONS)}")
    if 0 < sum(name == "" for name, _ in pairs) < len(pairs):
        loose = next(path for name, path in pairs if not name)
        raise InputError(
            f"{where} has images beside folders of classes, say {loose}; expected all images in"
            " folders of classes, or none"
        )
    return pairs


def _called(name: str) -> str:
    return f"class '{name}'" if name else "images without a class"


def _nothing_to_see(folder: Path, walked: Walked) -> str:
    """Says what a folder without images has instead."""
    counts = count_endings(walked.files)
    message = f"data '{folder}' has no images; expected {', '.join(EXTENSIONS)}"
    if counts:
        message += f". It has {told_endings(counts)}"
    if kind := kind_of_files(counts):
        message += f": {readers_of(kind)}"
    if any(map(_is_picture, walked.files)):
        message += f": {how_to_convert(walked.files)}"
    return message + _skipped(walked)


def _tell_what_is_left_out(
    tree: Tree, walked: Walked, splits: dict[str, str], names: Sequence[str]
) -> None:
    """Notes what is not read. A training class of which no picture can be read is an error."""
    places = tuple(f"{below}/" if below else "" for below in splits.values())
    unread = [
        path
        for path in walked.files
        if path.startswith(places)
        and ("/" in path or _is_picture(path))
        and not path.lower().endswith(EXTENSIONS)
    ]
    counts = count_endings(unread)
    train = f"{splits[TRAIN]}/" if splits[TRAIN] else ""
    empty = []
    for path in walked.folders:
        name = path[len(train) :] if path.startswith(train) else ""
        if name and "/" not in name and name not in names and names:
            pictures = [p for p in unread if p.startswith(f"{path}/") and _is_picture(p)]
            if pictures:
                raise InputError(
                    f"data '{tree.where}': {told_endings(count_endings(pictures))} were not read:"
                    f" class {name} has no picture; expected {', '.join(EXTENSIONS)}:"
                    f" {how_to_convert(pictures)}"
                )
            empty.append(path)
    notes = []
    if counts:
        notes.append(
            f"not read: {told_endings(counts)} (read are {', '.join(EXTENSIONS)};"
            f" {how_to_convert(unread)})"
        )
    notes += [f"class {path} has no picture and is none" for path in empty]
    beside = ignored_folders(tree, splits.values())
    notes += [f"folder {name} is none of a split and is not read" for name in beside]
    if loose := [path for path in tree.images if not path.startswith(places)]:
        loose = [path for path in loose if "/" not in path]
        notes += [f"not read: {path}, which lies beside the splits" for path in loose[:3]]
    notes += [f"skipped {what}" for what in walked.skipped]
    for note in notes:
        print(f"note: data '{tree.where}': {note}", file=sys.stderr)


def how_to_convert(paths: Iterable[str]) -> str:
    """Says how to make pictures of these names into some that are read."""
    phones = [ending for ending in _PHONES if any(p.lower().endswith(ending) for p in paths)]
    if phones:
        return f"phones write HEIC; ImageMagick converts it: mogrify -format jpg *{phones[0]}"
    return "convert pictures of other kinds"


def _is_picture(path: str) -> bool:
    return path.lower().endswith(_UNREAD)


def _skipped(walked: Walked) -> str:
    return f". Skipped: {', '.join(walked.skipped[:3])}" if walked.skipped else ""
