"""Which arrays of a source fit a model, by path and shape, as a table and for the record."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

Shape = tuple[int, ...]


class Taken(NamedTuple):
    """What a model takes from weights.

    fitting: the paths that are taken, with their shapes.
    fresh: the paths that keep their initial values, with their shapes and why.
    unused: the paths, or published names, that the model does not have.
    """

    fitting: dict[str, Shape]
    fresh: dict[str, tuple[Shape, str]]
    unused: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Returns the numbers of parameters that were taken and that were not, by part."""
        fresh = {path: shape for path, (shape, _) in self.fresh.items()}
        return {
            "taken": {part: _count(s) for part, s in _by_part(self.fitting).items()},
            "fresh": {part: _count(s) for part, s in _by_part(fresh).items()},
        }


def compared(
    source: Mapping[str, Shape], model: Mapping[str, Any], misfits: Collection[str] = ()
) -> Taken:
    """Compares the shapes of a source with those of a model. A module is taken as a whole: where
    one of its arrays has another shape, the others would mean something else.

    misfits: paths of the source whose shapes are as published, and do not fit.
    """
    here = {path: tuple(leaf.shape) for path, leaf in model.items()}
    differ = {
        path: f"{list(source[path])} there, {list(shape)} here"
        for path, shape in here.items()
        if path in source and (path in misfits or tuple(source[path]) != shape)
    }
    unfit = {path.rpartition("/")[0] for path in differ}
    fitting, fresh = {}, {}
    for path, shape in here.items():
        if path in source and path.rpartition("/")[0] not in unfit:
            fitting[path] = shape
        else:
            why = differ.get(path, "as the rest of its module" if path in source else "not there")
            fresh[path] = shape, why
    return Taken(fitting, fresh, tuple(name for name in source if name not in model))


def shown(source: str, taken: Taken) -> str:
    """Formats what is taken as a table, a line for each part or series of parts."""
    rows = [("part", "parameters", "")]
    every = {path: (shape, "taken") for path, shape in taken.fitting.items()} | taken.fresh
    for part, paths in _series(every):
        shapes = [every[path][0] for path in paths]
        why = dict.fromkeys(every[path][1] for path in paths)
        state = "taken" if list(why) == ["taken"] else f"fresh: {'; '.join(why)}"
        rows.append((part, f"{_count(shapes):,}", state))
    total = _count(taken.fitting.values())
    of = total + _count(shape for shape, _ in taken.fresh.values())
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {a:<{widths[0]}}  {b:>{widths[1]}}  {c}".rstrip() for a, b, c in rows]
    lines = [f"starts from weights ({source}): {total:,} of {of:,} parameters", *lines]
    if taken.unused:
        more = f" and {len(taken.unused) - 5} more" if len(taken.unused) > 5 else ""
        lines.append(f"  the source also has {', '.join(taken.unused[:5])}{more}")
    return "\n".join(lines)


def _part(path: str) -> str:
    """Returns the module of a path that a table shows: to its first numbered one, or its first."""
    names = path.split("/")
    inner = names[1:-1] or names[1:]
    end = next((i for i, name in enumerate(inner, 1) if re.search(r"\d$", name)), 1)
    return "/".join([names[0], *inner[:end]])


def _by_part(shapes: Mapping[str, Shape]) -> dict[str, list[Shape]]:
    parts: dict[str, list[Shape]] = {}
    for path, shape in shapes.items():
        parts.setdefault(_part(path), []).append(shape)
    return parts


def _series(every: Mapping[str, tuple[Shape, str]]) -> list[tuple[str, list[str]]]:
    """Divides paths into parts, and joins numbered parts that follow each other and of which all
    is taken."""

    def kind(path: str) -> tuple[str, bool]:
        part, is_taken = _part(path), every[path][1] == "taken"
        return (re.sub(r"\d+$", "", part) if is_taken else part), is_taken

    found = []
    for _, group in groupby(sorted(every, key=_natural), kind):
        paths = list(group)
        parts = list(dict.fromkeys(map(_part, paths)))
        last = parts[-1].rpartition("/")[2]
        found.append((parts[0] if len(parts) == 1 else f"{parts[0]} ... {last}", paths))
    return found


def _natural(path: str) -> list[tuple[int, str]]:
    """Sorts block_10 after block_2."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", path)]


def _count(shapes: Iterable[Shape]) -> int:
    return sum(math.prod(shape) for shape in shapes)
