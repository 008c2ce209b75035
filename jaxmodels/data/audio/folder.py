"""Data sets of sound files in folders."""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxmodels.data.audio.reading import EXTENSIONS
from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, BadRecord, Dataset, Record
from jaxmodels.data.images.layout import Tree, find_splits, ignored_folders, place_of
from jaxmodels.data.kinds import count_endings, kind_of_files, readers_of, told_endings
from jaxmodels.data.walking import Walked, open_regular, walk
from jaxmodels.errors import InputError

# Lists of Speech Commands (Warden 2018), which stand beside its folders of classes.
_LISTS = {VALIDATION: "validation_list.txt", TEST: "testing_list.txt"}
_NO_CLASS = "_background_noise_"  # its folder of long recordings to mix in


class SoundFiles:
    """`Records` of files: "sound", the encoded bytes, "file", the path, and "label"."""

    def __init__(self, folder: Path, paths: Sequence[str], labels: np.ndarray):
        self._folder, self._paths, self._labels = folder, paths, labels

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads the files of these rows."""
        return [
            {
                "sound": read_sound(self._folder / self._paths[row]),
                "file": os.fsencode(self._paths[row]),
                "label": int(self._labels[row]),
            }
            for row in rows
        ]

    def key(self, row: int) -> str:
        """Returns the path below the folder, with slashes."""
        return self._paths[row]


def read_sound(path: Path) -> bytes:
    """Reads the bytes of a file.

    Raises:
      BadRecord: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise BadRecord(f"cannot be read: {error.strerror}", "unreadable") from None


def sound_paths(paths: Iterable[str]) -> list[str]:
    """Chooses the paths of sounds, in their order."""
    return sorted(path for path in paths if path.lower().endswith(EXTENSIONS))


def open_sound_folder(folder: Path) -> Dataset:
    """Opens the sounds in folder/train/CLASS and, if they exist, in validation and test; or those
    in folder/CLASS, which are to train on but for those that validation_list.txt and
    testing_list.txt name, as Speech Commands has them. Sounds in folders below a class belong to
    it.

    The fingerprint is of the content of the sounds and of their paths below the folder.

    Raises:
      InputError: no such folder, without sounds, training split or classes, folders that may be
        classes or splits, or splits that do not have the same classes.
    """
    walked = walk(folder, place_of)
    sounds = sound_paths(walked.files)
    if not sounds:
        raise InputError(_nothing_to_hear(folder, walked))
    noises = [path for path in sounds if path.split("/")[0] == _NO_CLASS]
    sounds = [path for path in sounds if path not in set(noises)]
    tree = Tree(str(folder), sounds, [f for f in walked.folders if f != _NO_CLASS], "sounds")
    splits = find_splits(tree)
    found = {split: _of_classes(folder, sounds, below) for split, below in splits.items()}
    _tell_what_is_left_out(tree, walked, splits, noises)
    if splits == {TRAIN: ""}:
        found = _listed_splits(folder, found[TRAIN])
    names = sorted(set(found[TRAIN].values()))
    records = {}
    for split, classes in found.items():
        if unknown := sorted(set(classes.values()) - set(names)):
            raise InputError(
                f"data '{folder}' has class '{unknown[0]}' in {split}, which train lacks; expected"
                f" {', '.join(names)}"
            )
        labels = np.array([names.index(name) for name in classes.values()], np.int32)
        records[split] = SoundFiles(Path(os.path.realpath(folder)), tuple(classes), labels)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(os.path.realpath(folder)).name).lstrip(".")
    used = {path: folder / path for classes in found.values() for path in classes}
    content = fingerprint_of(name, used, folder)
    return Dataset(name or "sounds", "folder", content, records, {"label": tuple(names)})


def _of_classes(folder: Path, sounds: Sequence[str], below: str) -> dict[str, str]:
    """Returns the class of every sound of a split, whose folder is `below`, by its path."""
    start = f"{below}/" if below else ""
    classes = {}
    for path in sounds:
        if path.startswith(start):
            name, slash, _ = path[len(start) :].partition("/")
            if not slash:
                raise InputError(
                    f"data '{folder}' has {path} in no folder of a class; expected"
                    f" {start}CLASS/{name}"
                )
            classes[path] = name
    if not classes:
        raise InputError(f"data '{folder}' has no sounds in {below}; expected CLASS/*.wav there")
    return classes


def _listed_splits(folder: Path, classes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Divides sounds by the lists beside them, where there are some."""
    found, left = {}, dict(classes)
    for split, name in _LISTS.items():
        try:
            lines = (folder / name).read_text("utf-8").split()
        except (OSError, UnicodeDecodeError):
            continue
        own = {path: left.pop(path) for path in lines if path in left}
        if own:
            found[split] = own
    if not left:
        raise InputError(f"data '{folder}' lists all of its sounds in {', '.join(_LISTS.values())}")
    return {TRAIN: left, **found}


def _nothing_to_hear(folder: Path, walked: Walked) -> str:
    """Says what a folder without sounds has instead."""
    counts = count_endings(walked.files)
    message = f"data '{folder}' has no sounds; expected CLASS/*.wav ({', '.join(EXTENSIONS)})"
    if counts:
        message += f". It has {told_endings(counts)}"
    kind = kind_of_files(counts)
    if kind == "sound":
        message += ": ffmpeg converts them, as ffmpeg -i FILE FILE.flac"
    elif kind:
        message += f": {readers_of(kind)}"
    return message


def _tell_what_is_left_out(
    tree: Tree, walked: Walked, splits: Mapping[str, str], noises: Sequence[str]
) -> None:
    others = [path for path in walked.files if not path.lower().endswith(EXTENSIONS)]
    counts = count_endings(path for path in others if path not in _LISTS.values())
    notes = []
    if kind_of_files(counts) == "sound":
        notes.append(f"not read: {told_endings(counts)} (read are {', '.join(EXTENSIONS)})")
    if noises:
        notes.append(f"{_NO_CLASS} is no class and is not read")
    beside = ignored_folders(tree, splits.values())
    notes += [f"folder {name} is none of a split and is not read" for name in beside]
    notes += [f"skipped {what}" for what in walked.skipped]
    for note in notes:
        print(f"note: data '{tree.where}': {note}", file=sys.stderr)
