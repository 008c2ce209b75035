"""Boxes in the XML files of Pascal VOC (Everingham et al. 2010), one for each picture."""

import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from jaxmodels.data.boxes.tree import Found, Item, Tree, divided, split_by_folder
from jaxmodels.data.dataset import TRAIN, VALIDATION
from jaxmodels.data.split_names import split_of

_SETS = "ImageSets/Main/"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(tree: Tree, files: Sequence[str]) -> Found:
    """Reads pictures and boxes of XML files: of Annotations, with the splits of ImageSets/Main and
    the pictures in JPEGImages; or of files beside the pictures, in folders that may name splits. A
    picture has the name of its XML file, or the one that this file says.

    Classes are the names in the training split, sorted. VOC counts pixels from 1, and xmax is the
    last one inside, so that a box is (xmin - 1, ymin - 1, xmax, ymax). Objects that are `difficult`
    are a crowd.
    """
    parsed = {path: _parsed(tree, path) for path in files}
    sets = _sets(tree)
    by_stem = defaultdict(list)
    for picture in sorted(tree.pictures):
        by_stem[PurePosixPath(picture).stem].append(picture)
    found: list[tuple[str | None, Item]] = []
    used, outside = set(), 0
    for path, objects in parsed.items():
        picture = _picture(by_stem, path, objects.get("filename", ""))
        if picture and picture in used:
            objects = {"broken": f"is a second file of boxes of {picture}"}
            picture = ""
        used.add(picture)
        split = sets.get(PurePosixPath(path).stem) if sets else split_by_folder(path)
        if sets and split is None:
            outside += 1
            continue
        found.append((split, Item(picture, picture or path, objects)))
    _note(tree, len(tree.pictures - used), "pictures without a file .xml, which are not read")
    _note(tree, outside, f"files .xml in none of the lists of {_SETS}, which are not read")
    splits = divided(tree.where, found)
    said = {name for item in splits[TRAIN] for name in item.objects.get("said", ())}
    names = tuple(sorted(said))
    labels = {name: label for label, name in enumerate(names)}
    for items in splits.values():
        for item in items:
            if "said" in item.objects:
                item.objects["labels"].extend(labels.get(n, -1) for n in item.objects["said"])
    return Found(splits, names, tuple(files))


def _note(tree: Tree, count: int, what: str) -> None:
    if count:
        print(f"note: data '{tree.where}' has {count:,} {what}", file=sys.stderr)


def _sets(tree: Tree) -> dict[str, str]:
    """Returns the split of each picture by its stem, as the lists in ImageSets/Main say; trainval
    trains where there is no train."""
    lists = {}
    for path in tree.files:
        name = PurePosixPath(path)
        if f"/{path}".endswith(f"/{_SETS}{name.name}") and name.suffix == ".txt":
            split = split_of(name.stem) or (TRAIN if name.stem == "trainval" else None)
            if split and (name.stem != "trainval" or TRAIN not in lists):
                lists[split] = path
    if VALIDATION in lists and PurePosixPath(lists.get(TRAIN, "")).stem == "trainval":
        lists.pop(VALIDATION)
    sets = {}
    for split in sorted(lists, reverse=True):  # train last, so that no test picture is trained on
        for line in tree.read_text(lists[split]).splitlines():
            words = line.split()
            if words:
                sets.setdefault(words[0], split)
    return sets


def _picture(by_stem: Mapping[str, list[str]], path: str, said: str) -> str:
    """Finds the picture of an XML file; "": there is none."""
    place = PurePosixPath(path)
    stems = [place.stem, PurePosixPath(said.replace("\\", "/")).stem]
    split = split_by_folder(path)
    for stem in stems:
        candidates = [p for p in by_stem.get(stem, ()) if split_by_folder(p) == split]
        if candidates:
            folder = place.parent
            return min(
                candidates,
                key=lambda p: (
                    PurePosixPath(p).parent != folder,
                    PurePosixPath(p).parent.parent != folder.parent,
                    len(p),
                    p,
                ),
            )
    return ""


def _parsed(tree: Tree, path: str) -> dict[str, Any]:
    """Parses one file to the values of a record; "labels" are filled in later."""
    try:
        root = ElementTree.fromstring(tree.read_text(path))
        if root.tag != "annotation":
            raise ValueError(f"its root is <{root.tag[:30]}>; expected <annotation>")
    except (ElementTree.ParseError, ValueError, OSError, RecursionError) as error:
        return {"broken": f"has boxes in {path} that cannot be read: {str(error)[:150]}"}
    size = [_number(root.findtext(f"size/{side}")) for side in ("height", "width")]
    objects: dict[str, Any] = {
        "boxes": [],
        "labels": [],
        "crowd": [],
        "said": [],
        "flaws": [],
        "relative": False,
        "declared": None,
        "filename": (root.findtext("filename") or "").strip(),
    }
    if all(side is not None and 0 < side < 2**31 for side in size):
        objects["declared"] = tuple(int(side) for side in size if side is not None)
    for number, entry in enumerate(root.findall("object")):
        name = (entry.findtext("name") or "").strip()
        corners = [_number(entry.findtext(f"bndbox/{corner}")) for corner in _CORNERS]
        if not name or any(corner is None for corner in corners):
            reason = f"object {number} ({name or 'without a name'}) without four corners or a name"
            objects["flaws"].append(("annotation", reason))
            continue
        left, top, right, bottom = (corner for corner in corners if corner is not None)
        objects["boxes"].append([left - 1, top - 1, right, bottom])
        objects["crowd"].append((entry.findtext("difficult") or "0").strip() == "1")
        objects["said"].append(name)
    return objects


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
