"""Which folders of a tree of files are splits and which are classes, by their names."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxmodels.data.dataset import TRAIN
from jaxmodels.data.split_names import SPLIT_NAMES, split_of
from jaxmodels.errors import InputError

# Other names that probably mean a split: "train_set", "seg_test".
_WORD = r"(train|training|val|valid|validation|test|testing|eval|evaluation|dev|holdout)"
_REST = r"([-_ .]?(data|dataset|sets?|split|images?|imgs?|pictures|folder|\d+))*s?"
_LIKE_A_SPLIT = re.compile(rf"([a-z0-9]+[-_ .])?{_WORD}{_REST}", re.IGNORECASE)

_EXPECTED = "expected train/CLASS, validation/CLASS and test/CLASS, or CLASS alone"


class Tree(NamedTuple):
    """A folder of files of one kind: the paths below it, with slashes."""

    where: str  # how its user calls the folder
    images: Sequence[str]  # the files
    folders: Sequence[str]
    noun: str = "images"  # the word for the files, in errors


def place_of(path: str) -> tuple[str, str]:
    """Returns split and class of a folder in a tree; "" if the folder lies above them."""
    first, _, rest = path.partition("/")
    split = split_of(first)
    return (split, rest.partition("/")[0]) if split else ("", first)


def find_splits(tree: Tree) -> dict[str, str]:
    """Returns the folder of each split; {"train": ""} without any, so that all is to train on.

    Raises:
      InputError: names that may mean splits or classes, two names of one split, splits without one
        for training, or a tree that begins further down.
    """
    top = [path for path in tree.folders if "/" not in path]
    found = defaultdict(list)
    for name in top:
        if split := split_of(name):
            found[split].append(name)
    for split, names in found.items():
        names.sort(key=lambda name, split=split: SPLIT_NAMES[split].index(name.casefold()))
        if len(names) > 1:
            raise InputError(
                f"data '{tree.where}' has folders {' and '.join(names)}; expected one of them, as"
                f" both name the {split} split"
            )
    splits = {split: names[0] for split, names in found.items()}
    others = [name for name in top if name not in splits.values() and _below(tree.images, name)]
    _refuse_likely_splits(tree, splits, others)
    if splits and TRAIN not in splits:
        raise InputError(
            f"data '{tree.where}' has no training split; expected a folder train."
            f" Found: {', '.join(splits.values())}"
        )
    if others and splits and any("/" not in path for path in _below(tree.images, splits[TRAIN])):
        raise InputError(
            f"data '{tree.where}' has {tree.noun} in {splits[TRAIN]}, which may be a split or, like"
            f" {others[0]} beside it, a class; {_EXPECTED}"
        )
    splits = splits or {TRAIN: ""}
    _refuse_one_level_too_high(tree, splits[TRAIN])
    return splits


def ignored_folders(tree: Tree, splits: Iterable[str]) -> list[str]:
    """Returns the folders with images beside those of splits, which are not read."""
    top = dict.fromkeys(path.partition("/")[0] for path in tree.images if "/" in path)
    return [name for name in top if name not in splits] if "" not in splits else []


def _refuse_likely_splits(tree: Tree, splits: dict[str, str], others: list[str]) -> None:
    likely = [name for name in others if _LIKE_A_SPLIT.fullmatch(name)]
    if likely and (splits or len(likely) > 1):
        raise InputError(
            f"data '{tree.where}' has {_listed('folder', likely)}: splits by the look of it;"
            " expected names like train, validation and test (rename or remove what is none)"
        )


def _refuse_one_level_too_high(tree: Tree, train: str) -> None:
    """Refuses classes whose folders are the classes or splits that are meant."""
    start = f"{train}/" if train else ""
    inside = defaultdict(set)  # of each class, the folders in it that have images
    loose = set()  # classes that have images themselves
    for path in _below(tree.images, train):
        name, *rest = path.split("/")
        if len(rest) > 1:
            inside[name].add(rest[0])
        elif rest:
            loose.add(name)
    for name, folders in sorted(inside.items()):
        splits = sorted(folder for folder in folders if split_of(folder))
        kinds = {split_of(folder) for folder in splits}
        if TRAIN in kinds and (len(kinds) > 1 or len(inside.keys() | loose) == 1):
            raise InputError(
                f"data '{tree.where}' has {_listed('folder', splits)} in {start}{name}, which would"
                f" be one class; name the folder of these splits: --data {tree.where}/{start}{name}"
                + (f" ({_EXPECTED})" if len(inside) > 1 else "")
            )
    classes = inside.keys() | loose
    if len(classes) == 1 and inside and not loose:
        [(name, folders)] = inside.items()
        meant = f"{start}{name}"
        while len(folders) == 1:  # a chain of single folders
            meant = f"{meant}/{next(iter(folders))}"
            parts = [path.split("/") for path in _below(tree.images, meant)]
            if any(len(part) == 1 for part in parts):
                return
            folders = {part[0] for part in parts}
        raise InputError(
            f"data '{tree.where}' has one class, '{name}', whose {_listed('folder', folders)} look"
            f" like classes or splits; name the folder that holds them: --data"
            f" {tree.where}/{meant}"
        )


def _below(images: Iterable[str], folder: str) -> list[str]:
    """Returns the paths of images below a folder, relative to it."""
    start = f"{folder}/" if folder else ""
    return [path[len(start) :] for path in images if path.startswith(start)]


def _listed(noun: str, names: Iterable[str], most: int = 5) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{noun}{'s' * (len(names) > 1)} {', '.join(names[:most])}{more}"
