"""Folders and files of pictures with boxes: which format they have."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmodels.data.boxes.coco import coco_files, read_coco
from jaxmodels.data.boxes.records import FileRecords
from jaxmodels.data.boxes.tree import Found, Item, Tree, open_tree
from jaxmodels.data.boxes.voc import read_voc
from jaxmodels.data.boxes.yolo import read_yolo, yolo_names
from jaxmodels.data.content import fingerprint_of
from jaxmodels.data.dataset import TRAIN, Dataset, evaluation_splits
from jaxmodels.data.kinds import (
    count_endings,
    kind_of_files,
    readers_of,
    told_endings,
    told_other_kind,
)
from jaxmodels.errors import InputError

_EXPECTED = (
    "expected a COCO file .json (or one in annotations, or one in train, valid and test), a file"
    " .xml of Pascal VOC for each picture, or YOLO's labels/NAME.txt for images/NAME.jpg with"
    " data.yaml or classes.txt"
)


def open_box_files(path: Path) -> Dataset:
    """Opens a COCO file, or a folder with COCO files, with a file .xml of Pascal VOC for each
    picture, or with YOLO's text files (see `read_coco`, `read_voc` and `read_yolo`).

    The fingerprint is of the content of pictures and files of boxes, and of their paths.

    Raises:
      InputError: no such path, no pictures or boxes in one of the formats, or as these functions.
    """
    if path.is_file():
        if path.suffix.lower() != ".json":
            kind = kind_of_files(count_endings([path.name]))
            other = f": {readers_of(kind)}" if kind and kind not in ("images", "text") else ""
            raise InputError(f"data '{path}' is a file ending in {path.suffix}{other}; {_EXPECTED}")
        return _of_one_file(path)
    if not path.is_dir():
        raise InputError(f"data '{path}' does not exist; {_EXPECTED}")
    tree = open_tree(path, str(path))
    if not tree.pictures:
        other = told_other_kind(tree.files, ("text",))
        raise InputError(f"data '{path}' has no pictures; {_EXPECTED}{other}")
    return _dataset(tree, _read(tree))


def _of_one_file(path: Path) -> Dataset:
    """Opens a COCO file whose pictures lie beside or below it, or beside its folder."""
    for root in (path.parent, path.parent.parent):
        tree = open_tree(root, str(path))
        if tree.pictures:
            name = path.relative_to(root).as_posix()
            alone = coco_files(tree._replace(files=(name,)))
            if not alone:
                raise InputError(
                    f"data '{path}' is no COCO file; expected lists images, annotations and"
                    " categories in it"
                )
            return _dataset(tree, read_coco(tree, alone))
    raise InputError(f"data '{path}' has no pictures beside it; expected them in its folder")


def _read(tree: Tree) -> Found:
    if files := coco_files(tree):
        return read_coco(tree, files)
    if files := [path for path in tree.files if path.lower().endswith(".xml")]:
        return read_voc(tree, files)
    if described := yolo_names(tree):
        return read_yolo(tree, *described)
    counts = count_endings(path for path in tree.files if path not in tree.pictures)
    other = f" Beside its pictures are {told_endings(counts)}." if counts else ""
    raise InputError(f"data '{tree.where}' has pictures and no boxes; {_EXPECTED}.{other}")


def _dataset(tree: Tree, found: Found) -> Dataset:
    if not found.names:
        raise InputError(f"data '{tree.where}' has no box to train on; {_EXPECTED}")
    root = Path(os.path.realpath(tree.root))
    splits = [TRAIN, *evaluation_splits(found.splits)]
    records = {split: _records(root, found.splits[split]) for split in splits}
    used = [item.path for items in found.splits.values() for item in items if item.path]
    files: Mapping[str, Path] = {path: tree.root / path for path in [*used, *found.read]}
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(os.path.realpath(tree.where)).stem).lstrip(".")
    fingerprint = fingerprint_of(name, files, tree.root)
    return Dataset(name or "boxes", "files", fingerprint, records, {"labels": found.names})


def _records(root: Path, items: Sequence[Item]) -> FileRecords:
    objects: list[Mapping[str, Any]] = []
    for item in items:
        missing = {} if item.path else {"broken": "has no picture file"}
        # A file of boxes may say why it has none.
        objects.append({**missing, **item.objects})
    return FileRecords(root, [item.key for item in items], objects)
