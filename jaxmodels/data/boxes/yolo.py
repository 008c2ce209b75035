"""Boxes in YOLO's text files, one for each picture: a line "class x y width height" a box."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from jaxmodels.data.boxes.tree import Found, Item, Tree, divided, split_by_folder
from jaxmodels.data.dataset import TRAIN
from jaxmodels.data.split_names import split_of
from jaxmodels.errors import InputError

_LISTS = ("classes.txt", "obj.names", "classes.names", "_darknet.labels", "labels.txt")


def yolo_names(tree: Tree) -> tuple[str, dict[str, Any]] | None:
    """Returns the path of the file that names the classes with what it says, {"names": [...]} and
    perhaps the folders of splits; ("", {}) without such a file, where folders named labels lie
    beside folders named images; None: the folder is not YOLO's.

    Raises:
      InputError: a file of names that is broken.
    """
    for path in sorted(tree.files, key=lambda path: path.count("/")):
        name = PurePosixPath(path).name
        if name.endswith((".yaml", ".yml")) and (found := _yaml(tree, path)):
            return path, found
        if name in _LISTS:
            try:
                lines = [line.strip() for line in tree.read_text(path).splitlines()]
            except (ValueError, OSError) as error:
                raise InputError(
                    f"data '{tree.where}': {path} cannot be read: {str(error)[:150]}; expected the"
                    " names of the classes, one a line"
                ) from None
            if names := [line for line in lines if line]:
                return path, {"names": names}
    if any(_label_file(picture) in tree.files for picture in tree.pictures):
        return "", {}
    return None


def read_yolo(tree: Tree, path: str, described: Mapping[str, Any]) -> Found:
    """Reads pictures and boxes. The boxes of images/NAME.jpg are in labels/NAME.txt, or beside it;
    a picture without such a file has no objects. Splits are the folders that the file of names
    lists, or those whose names are a split's. A polygon becomes the box around it.

    path, described: as `yolo_names` returns them.
    """
    files = set(tree.files)
    folders = _split_folders(tree, path, described)
    found, read = [], [path] if path else []
    for picture in sorted(tree.pictures):
        label_file = next((f for f in (_label_file(picture), _beside(picture)) if f in files), "")
        split = _split(picture, folders) if folders else split_by_folder(picture)
        if folders and split is None:
            continue
        objects = _objects(tree, label_file) if label_file else _none()
        read += [label_file] if label_file else []
        found.append((split, Item(picture, picture, objects)))
    if not found:
        raise InputError(f"data '{tree.where}' has no pictures in the folders that {path} names")
    splits = divided(tree.where, found)
    names = described.get("names")
    if names is None:
        largest = [max(item.objects.get("labels", ()), default=-1) for item in splits[TRAIN]]
        names = [str(label) for label in range(max(largest) + 1)]
    return Found(splits, tuple(names), tuple(read))


def _yaml(tree: Tree, path: str) -> dict[str, Any] | None:
    """Reads what a file like data.yaml says; None: it has no names of classes."""
    import yaml

    try:
        found = yaml.safe_load(tree.read_text(path))
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"data '{tree.where}': {path} cannot be read as YAML: {first[:150]}; mend it, or take"
            " it away"
        ) from None
    names = found.get("names") if isinstance(found, dict) else None
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise InputError(
                f"data '{tree.where}': {path} names classes {str(list(names))[:80]}; expected 0 to"
                f" {len(names) - 1}"
            )
        names = [names[label] for label in range(len(names))]
    if not isinstance(names, list) or not names:
        return None
    return {**found, "names": [str(name) for name in names]}


def _label_file(picture: str) -> str:
    """Returns the file of boxes of a picture below a folder images."""
    parts = list(PurePosixPath(picture).with_suffix(".txt").parts)
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == "images":
            parts[at] = "labels"
            return "/".join(parts)
    return ""


def _beside(picture: str) -> str:
    return str(PurePosixPath(picture).with_suffix(".txt"))


def _split_folders(tree: Tree, path: str, described: Mapping[str, Any]) -> dict[str, str]:
    """Returns the split of each folder that the file of names lists and that there is. Tools write
    such folders relative to somewhere else, so that leading dots are left out."""
    home = PurePosixPath(path).parent
    start = "" if str(home) == "." else f"{home}/"
    folders = {}
    for key in described:
        split = split_of(str(key))
        named = described[key] if isinstance(described[key], list) else [described[key]]
        for folder in named if split else ():
            parts = [part for part in str(folder).split("/") if part not in ("", ".", "..")]
            for at in range(len(parts)):  # the end of an absolute path may exist here
                below = start + "/".join(parts[at:])
                if any(picture.startswith(f"{below}/") for picture in tree.pictures):
                    # The first split that names a folder has it: coco128 trains on what it tests.
                    folders.setdefault(below, split)
                    break
    return folders if TRAIN in folders.values() else {}


def _split(picture: str, folders: Mapping[str, str]) -> str | None:
    return next((s for folder, s in folders.items() if picture.startswith(f"{folder}/")), None)


def _none() -> dict[str, Any]:
    return {"boxes": [], "labels": [], "crowd": [], "flaws": [], "relative": True}


def _objects(tree: Tree, path: str) -> dict[str, Any]:
    """Parses one file to the values of a record."""
    objects = _none()
    try:
        lines = tree.read_text(path).splitlines()
    except (ValueError, OSError) as error:
        return {"broken": f"has boxes in {path} that cannot be read: {str(error)[:150]}"}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        values = _numbers(words)
        if values is None or len(values) < 5 or (len(values) > 5 and len(values) % 2 == 0):
            reason = f"line {number} of {path} ({line[:60]!r}), which is not class x y width height"
            objects["flaws"].append(("annotation", reason))
            continue
        objects["boxes"].append(_box(values[1:]))
        objects["labels"].append(int(values[0]))
        objects["crowd"].append(False)
    return objects


def _numbers(words: list[str]) -> list[float] | None:
    """Reads numbers, the first of which is a class; None: they are none."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    return values if abs(values[0]) < 2**31 and values[0] == int(values[0]) else None


def _box(values: list[float]) -> list[float]:
    if len(values) == 4:
        x, y, width, height = values
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    across, down = values[::2], values[1::2]
    return [min(across), min(down), max(across), max(down)]
