"""What is wrong with the boxes of a picture, and the boxes that remain."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxmodels.data.boxes.annotations import Annotation
from jaxmodels.data.dataset import Record

_LEAST_SIDE = 1.0  # pixels of the picture as it is stored
_SLACK = 1e-4  # shares of a side, by which 32 bits may round over the edge
_MOST_TOLD = 3  # flaws of one picture


class Flaw(NamedTuple):
    """What is wrong with one object. reason: continues "has ..."."""

    kind: str
    reason: str


class Cleaned(NamedTuple):
    """The good objects of a picture, and what was wrong with the others."""

    annotation: Annotation
    flaws: list[Flaw]
    clipped: int  # boxes that reached over the edge


def clean(record: Record, height: int, width: int, classes: int) -> Cleaned:
    """Leaves out the flawed objects of a record (see `jaxmodels.data.boxes.records`): those whose
    box is not finite, reversed, empty, outside of the picture, narrower than a pixel, or there
    twice with one label; and those of an unknown class. Boxes that reach over the edge are cut."""
    boxes = np.array(record["boxes"], np.float64).reshape(-1, 4)
    labels = np.array(record["labels"], np.int32).reshape(-1)
    crowd = np.array(record["crowd"], bool).reshape(-1)
    shown = boxes.copy()
    if record["relative"]:
        boxes *= (width, height, width, height)
    flaws = [Flaw(*flaw) for flaw in record.get("flaws", ())]
    whole = boxes
    with np.errstate(invalid="ignore"):
        boxes = np.clip(boxes, 0, (width, height, width, height))
        over = np.abs(whole - boxes).max(1, initial=0) > _SLACK * max(height, width)
    good = np.ones(len(boxes), bool)
    for kind, is_bad, told in (
        *_geometry(whole, boxes, height, width),
        ("label", (labels < 0) | (labels >= classes), lambda row: _class(record, row, classes)),
    ):
        for row in np.flatnonzero(is_bad & good).tolist():
            flaws.append(Flaw(kind, f"box {row} ({_listed(shown[row])}) {told(row)}"))
        good &= ~is_bad
    for row, first in _twice(boxes, labels, good):
        flaws.append(Flaw("repeated", f"box {row} ({_listed(shown[row])}) is box {first} again"))
        good[row] = False
    kept = Annotation(boxes[good], labels[good], crowd[good])
    return Cleaned(kept, flaws, int((over & good).sum()))


def told_flaws(flaws: list[Flaw]) -> str:
    """Lists the flaws of one picture."""
    more = f" and {len(flaws) - _MOST_TOLD:,} more flaws" if len(flaws) > _MOST_TOLD else ""
    return "has " + ", ".join(flaw.reason for flaw in flaws[:_MOST_TOLD]) + more


def _geometry(
    whole: Float[np.ndarray, "object 4"],
    boxes: Float[np.ndarray, "object 4"],
    height: int,
    width: int,
) -> list[tuple[str, Any, Callable[[int], str]]]:
    """Lists kinds of flaws, which objects have them, and what to say of one.

    whole: the boxes as they are stored. boxes: cut at the edges.
    """
    sides = whole[:, 2:] - whole[:, :2]
    left = boxes[:, 2:] - boxes[:, :2]
    with np.errstate(invalid="ignore"):
        return [
            ("nonfinite", ~np.isfinite(whole).all(1), lambda row: "is not finite"),
            ("reversed", (sides < 0).any(1), lambda row: "is reversed: it ends before it begins"),
            ("empty", (sides == 0).any(1), lambda row: "is empty: it has no area"),
            (
                "outside",
                (left <= 0).any(1),
                lambda row: f"lies outside of the picture of {width}x{height} pixels",
            ),
            (
                "degenerate",
                (left < _LEAST_SIDE * (1 - _SLACK)).any(1),
                lambda row: f"is narrower than a pixel of the {width}x{height}",
            ),
        ]


def _class(record: Record, row: int, classes: int) -> str:
    said = record.get("said")
    what = f"class '{said[row]}'" if said is not None else f"label {record['labels'][row]}"
    return f"has the unknown {what}; known are {classes} classes"


def _twice(boxes: np.ndarray, labels: np.ndarray, good: np.ndarray) -> list[tuple[int, int]]:
    """Returns the rows that repeat an earlier one, with that one."""
    first, again = {}, []
    for row in np.flatnonzero(good).tolist():
        known = first.setdefault((*boxes[row].tolist(), int(labels[row])), row)
        if known != row:
            again.append((row, known))
    return again


def _listed(box: Float[np.ndarray, "4"]) -> str:
    return " ".join(f"{side:g}" for side in box)
