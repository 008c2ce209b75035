"""Boxes in the JSON files of COCO (Lin et al. 2014; cocodataset.org/#format-data)."""

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from jaxmodels.data.boxes.tree import Found, Item, Tree, split_by_words
from jaxmodels.data.dataset import TRAIN
from jaxmodels.errors import InputError

# Files of the same shape that say other things of the pictures.
_OTHERS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")
_PROBES = 100


def coco_files(tree: Tree) -> dict[str, dict[str, Any]]:
    """Returns the parsed COCO files of a folder by their paths.

    Raises:
      InputError: a file that begins like one, and is broken.
    """
    found = {}
    for path in tree.files:
        if path.lower().endswith(".json") and not PurePosixPath(path).name.startswith(_OTHERS):
            parsed = _parsed(tree, path)
            if parsed is not None:
                found[path] = parsed
    return found


def read_coco(tree: Tree, files: Mapping[str, Mapping[str, Any]]) -> Found:
    """Reads the pictures and boxes of COCO files, whose names or folders name their splits. One
    file alone is to train on.

    Classes are the categories of the training file, in the order of their ids; categories of
    others are matched by name. `iscrowd` marks a crowd. Pictures lie in the folder, of those below
    the tree's root, that has most of the names in the file.

    Raises:
      InputError: two files of a split, none to train on, or a file that is not as described.
    """
    splits = {}
    for path in files:
        split = TRAIN if len(files) == 1 else split_by_words(path)
        if split is None or split in splits:
            what = f"two files of the {split} split" if split else "a file of no split"
            raise InputError(
                f"data '{tree.where}' has {what}: {', '.join(files)}; expected one for each split,"
                " with train, val or test in its name, or the path of one file alone"
            )
        splits[split] = path
    if TRAIN not in splits:
        raise InputError(
            f"data '{tree.where}' has no training split; expected a file like train.json. Found:"
            f" {', '.join(files)}"
        )
    categories = {split: _categories(path, files[path]) for split, path in splits.items()}
    names = tuple(dict.fromkeys(name for _, name in sorted(categories[TRAIN].items())))
    items = {
        split: _items(tree, path, files[path], categories[split], names)
        for split, path in splits.items()
    }
    return Found(items, names, tuple(files))


def _parsed(tree: Tree, path: str) -> dict[str, Any] | None:
    """Parses a file; None: it is JSON, but not COCO's."""
    try:
        parsed = json.loads(tree.read_text(path))
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        raise InputError(
            f"data '{tree.where}': {path} cannot be read as JSON: {str(error)[:200]}; mend it, or"
            " take it away"
        ) from None
    keys = ("images", "annotations", "categories")
    if not isinstance(parsed, dict) or not all(isinstance(parsed.get(k), list) for k in keys):
        return None
    for key in keys:
        for row, entry in enumerate(parsed[key]):
            if not isinstance(entry, dict):
                raise InputError(
                    f"data '{tree.where}': {path}: {key}[{row}] is {str(entry)[:50]!r}; expected an"
                    " object with an id"
                )
    return parsed


def _categories(path: str, parsed: Mapping[str, Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for row, entry in enumerate(parsed["categories"]):
        number, name = entry.get("id"), entry.get("name")
        if not _is_integer(number) or not isinstance(name, str) or not name:
            raise InputError(
                f"{path}: categories[{row}] has id {number!r} and name {name!r}; expected a number"
                " and a text"
            )
        if found.setdefault(number, name) != name:
            raise InputError(f"{path}: category {number} is both '{found[number]}' and '{name}'")
    if not found:
        raise InputError(f"{path} has no categories; expected the classes of its boxes")
    return found


def _items(
    tree: Tree,
    path: str,
    parsed: Mapping[str, Any],
    categories: Mapping[int, str],
    names: Sequence[str],
) -> list[Item]:
    images = _images(path, parsed)
    folder = _folder(tree, path, [name for name, _ in images.values()])
    label = {number: names.index(n) if n in names else -1 for number, n in categories.items()}
    objects: dict[Any, dict[str, Any]] = {
        number: {"boxes": [], "labels": [], "crowd": [], "said": [], "flaws": []}
        for number in images
    }
    strange = 0
    for row, entry in enumerate(parsed["annotations"]):
        number = entry.get("image_id")
        if isinstance(number, (list, dict)) or number not in objects:
            strange += 1
            continue
        _add(objects[number], entry, entry.get("id", row), categories, label)
    if strange:
        print(
            f"note: data '{tree.where}': {path} has {strange:,} annotations of images that it does"
            " not list; they are not read",
            file=sys.stderr,
        )
    items = []
    for number, (name, declared) in images.items():
        below = f"{folder}/{name}".lstrip("/")
        below = str(PurePosixPath(below))
        found = {**objects[number], "relative": False, "declared": declared}
        items.append(Item(below if below in tree.pictures else "", below, found))
    return items


def _images(path: str, parsed: Mapping[str, Any]) -> dict[Any, tuple[str, Any]]:
    """Returns file name and declared size of each image, by its id."""
    images, seen = {}, {}
    for row, entry in enumerate(parsed["images"]):
        number, name = entry.get("id"), entry.get("file_name")
        if isinstance(number, (list, dict, type(None))) or not isinstance(name, str) or not name:
            raise InputError(
                f"{path}: images[{row}] has id {str(number)[:50]!r} and file_name"
                f" {str(name)[:100]!r}; expected a number and a text"
            )
        if number in images or name in seen:
            raise InputError(
                f"{path}: images[{row}] repeats the id or the file_name of an earlier one"
                f" (id {number}, {name}); expected each once"
            )
        seen[name] = number
        size = entry.get("height"), entry.get("width")
        images[number] = name, size if all(_is_integer(s) and s > 0 for s in size) else None
    if not images:
        raise InputError(f"{path} lists no images; expected some")
    return images


def _folder(tree: Tree, path: str, names: Sequence[str]) -> str:
    """Finds the folder whose pictures have these names: that with most of them, then the nearest to
    the file."""
    home = str(PurePosixPath(path).parent)
    home = "" if home == "." else home
    wanted = list(names)[:: max(1, len(names) // _PROBES)]
    counts = Counter({home: 0})
    ends = {name: f"/{name}" for name in wanted}
    by_name: dict[str, list[str]] = {}
    for picture in tree.pictures:
        by_name.setdefault(PurePosixPath(picture).name, []).append(picture)
    for name, end in ends.items():
        for picture in by_name.get(PurePosixPath(name).name, ()):
            if f"/{picture}".endswith(end):
                counts[picture[: -len(end)] if len(picture) > len(name) else ""] += 1
    split = split_by_words(path)

    def rank(folder: str) -> tuple:
        same = split is not None and split_by_words(f"{folder}/x") == split
        return -counts[folder], not same, folder != home, len(folder), folder

    return min(counts, key=rank)


def _add(
    objects: dict[str, list],
    entry: Mapping[str, Any],
    called: Any,
    categories: Mapping[int, str],
    label: Mapping[int, int],
) -> None:
    box, number = entry.get("bbox"), entry.get("category_id")
    called = str(called)[:30]
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        reason = f"annotation {called} with bbox {str(box)[:60]}; expected x, y, width, height"
        objects["flaws"].append(("annotation", reason))
        return
    known = number if _is_integer(number) and number in categories else None
    objects["boxes"].append([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    objects["labels"].append(-1 if known is None else label[known])
    objects["said"].append(str(number)[:30] if known is None else categories[known])
    objects["crowd"].append(bool(entry.get("iscrowd", 0)))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # Numbers that no float holds would raise; they are as bad as infinite ones.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return not math.isnan(float(value))
    except OverflowError:
        return False
