"""Data sets of image files in folders."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, BadRecord, Dataset, Record
from jaxmodels.errors import InputError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_SPLITS = {TRAIN: TRAIN, VALIDATION: VALIDATION, "val": VALIDATION, TEST: TEST}


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
        try:
            return (self._folder / self._paths[row]).read_bytes()
        except OSError as error:
            raise BadRecord(f"cannot be read: {error.strerror}", "unreadable") from None


def open_image_folder(folder: Path) -> Dataset:
    """Opens the images (.png .jpg .jpeg .bmp .webp) in folder/train/CLASS and, if they exist, in
    validation (or val) and test; or those in folder/CLASS, all of them to train on. Without folders
    of classes the images have no labels. Images in folders below a class belong to it.

    Raises:
      InputError: no such folder, without images or without a training split, images beside folders
        of classes, or splits that do not have the same classes.
    """
    if not folder.is_dir():
        raise InputError(f"data '{folder}' is no folder; expected one with images in train/CLASS")
    files = _files(folder)
    splits = _split_folders(folder) or {TRAIN: ""}
    found = {split: _of_classes(folder, files, below) for split, below in splits.items()}
    names = sorted({name for name, _ in found[TRAIN]} - {""})
    images = {}
    for split, pairs in found.items():
        unknown = sorted({name for name, _ in pairs} - set(names or [""]))
        if unknown:
            raise InputError(
                f"data '{folder}' has {_called(unknown[0])} in {split}, which train lacks;"
                f" expected {', '.join(names) or 'images without folders of classes'}"
            )
        labels = np.array([names.index(name) for name, _ in pairs], np.int32) if names else None
        paths = tuple(path for _, path in pairs)
        images[split] = FolderImages(folder.resolve(), paths, labels)
    digest = hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", folder.resolve().name).lstrip(".") or "images"
    return Dataset(name, "folder", digest, images, {"label": tuple(names)})


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Finds size and time of change of every image file, by its path below the folder, sorted."""
    files = {}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            # Operating systems leave files with a dot in front beside those of the user.
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                path = Path(parent, name)
                try:
                    stat = path.stat()
                    files[path.relative_to(folder).as_posix()] = stat.st_size, stat.st_mtime_ns
                except OSError:  # a dangling link, which becomes a bad record
                    files[path.relative_to(folder).as_posix()] = -1, -1
    return dict(sorted(files.items()))


def _split_folders(folder: Path) -> dict[str, str]:
    """Returns the name of each split's folder; none if the folder has no splits."""
    there = [name for name in _SPLITS if (folder / name).is_dir()]
    if {VALIDATION, "val"} <= set(there):
        raise InputError(f"data '{folder}' has folders validation and val; expected one of them")
    if there and TRAIN not in there:
        raise InputError(
            f"data '{folder}' has no training split; expected a folder train."
            f" Found: {', '.join(there)}"
        )
    return {_SPLITS[name]: name for name in there}


def _of_classes(folder: Path, files: dict[str, tuple], below: str) -> list[tuple[str, str]]:
    """Returns class ("": none) and path of every image of a split, whose folder is `below`."""
    start = f"{below}/" if below else ""
    pairs = []
    for path in files:
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
