"""Which detections match which objects, as pycocotools matches them, vectorised.

It is one pass over the ranks of detections, for all pictures, classes, areas and thresholds at
once.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

MOST = 100  # detections of a class that count in a picture, the surest
_CELLS = 1 << 22  # of a block's largest array


@runtime_checkable
class Found(Protocol):
    """Detections of the pictures of a split: boxes [picture, most, 4] as x0, y0, x1, y1, scores
    [picture, most] and labels [picture, most], -1 where there is none."""

    @property
    def boxes(self) -> Any: ...
    @property
    def scores(self) -> Any: ...
    @property
    def labels(self) -> Any: ...


@runtime_checkable
class Objects(Protocol):
    """The true objects of a picture."""

    @property
    def boxes(self) -> Float[np.ndarray, "object 4"]: ...
    @property
    def labels(self) -> Int[np.ndarray, " object"]: ...
    @property
    def crowd(self) -> Bool[np.ndarray, " object"]: ...


class Matches(NamedTuple):
    """Which detections hit an object, and what does not count."""

    hit: Bool[np.ndarray, "detection area threshold"]
    ignored: Bool[np.ndarray, "detection area threshold"]
    object_ignored: Bool[np.ndarray, "object area"]


class Pairs:
    """Detections and objects of all pictures, each sorted by picture and class: detections then by
    falling scores, of which the first `MOST` are kept, objects as they come."""

    def __init__(self, found: Found, truth: Sequence[Objects], classes: int):
        labels = np.asarray(found.labels)
        pictures, places = np.nonzero((labels >= 0) & (labels < classes))
        labels = labels[pictures, places].astype(np.int64)
        scores = np.asarray(found.scores)[pictures, places].astype(np.float64)
        boxes = np.asarray(found.boxes)[pictures, places].astype(np.float64)
        groups = pictures * classes + labels
        order = np.lexsort((np.arange(len(groups)), -scores, groups))
        groups = groups[order]
        rank = np.arange(len(groups)) - np.searchsorted(groups, groups, side="left")
        order, groups = order[rank < MOST], groups[rank < MOST]
        self.detection_groups, self.detection_labels = groups, labels[order]
        self.scores, self.detections = scores[order], sides_of(boxes[order])

        labels = np.concatenate([np.zeros(0, np.int64), *(some.labels for some in truth)])
        pictures = np.repeat(np.arange(len(truth)), [len(some.labels) for some in truth])
        groups = pictures * classes + labels
        order = np.argsort(groups, kind="stable")
        boxes = np.concatenate([np.zeros((0, 4)), *(some.boxes for some in truth)])
        crowd = np.concatenate([np.zeros(0, bool), *(some.crowd for some in truth)])
        self.object_groups, self.object_labels = groups[order], labels[order]
        self.objects, self.crowd = sides_of(boxes[order].astype(np.float64)), crowd[order]
        self.pictures = len(truth)


def sides_of(boxes: Float[np.ndarray, "box 4"]) -> Float[np.ndarray, "box 4"]:
    """Converts corners to x, y, width and height, with which pycocotools computes."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def matched(
    pairs: Pairs,
    thresholds: Float[np.ndarray, " threshold"],
    limits: Float[np.ndarray, "area 2"],
) -> Matches:
    object_area = _area(pairs.objects)[:, None]
    object_ignored = pairs.crowd[:, None] | _outside(object_area, limits)
    shape = len(pairs.detections), len(limits), len(thresholds)
    hit, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    for detections, objects in _blocks(pairs, len(limits) * len(thresholds)):
        there = (detections >= 0, objects >= 0)
        picked = detections[there[0]]
        found, on_ignored = _match(
            _overlaps(pairs, detections, objects),
            object_ignored[objects],
            pairs.crowd[objects],
            there[1],
            thresholds,
        )
        hit[picked], ignored[picked] = found[there[0]], on_ignored[there[0]]
    # A detection that hits nothing does not count where its own area is outside.
    ignored |= ~hit & _outside(_area(pairs.detections)[:, None], limits)[:, :, None]
    return Matches(hit, ignored, object_ignored)


def _area(sides: Float[np.ndarray, "*box 4"]) -> Float[np.ndarray, "*box"]:
    return sides[..., 2] * sides[..., 3]


def _outside(areas: np.ndarray, limits: np.ndarray) -> np.ndarray:
    return (areas < limits[:, 0]) | (areas > limits[:, 1])


def _blocks(pairs: Pairs, cases: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows of detections and of objects, [group, most], -1 where there is none, of groups
    (pictures with classes) that have both; groups of similar sizes come together."""
    groups, firsts, counts = np.unique(
        pairs.detection_groups, return_index=True, return_counts=True
    )
    starts, ends = (
        np.searchsorted(pairs.object_groups, groups, side) for side in ("left", "right")
    )
    both = ends > starts
    firsts, counts, starts, ends = (column[both] for column in (firsts, counts, starts, ends))
    sizes = np.stack([counts, ends - starts], axis=1)
    padded = 2 ** np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)
    for most in np.unique(padded, axis=0):
        rows = np.flatnonzero((padded == most).all(1))
        size = max(1, _CELLS // int(most[1] * max(cases, most[0])))
        for at in range(0, len(rows), size):
            block = rows[at : at + size]
            widest = sizes[block].max(0).tolist()
            yield (
                _rows(firsts[block], counts[block], widest[0]),
                _rows(starts[block], (ends - starts)[block], widest[1]),
            )


def _rows(starts: np.ndarray, counts: np.ndarray, most: int) -> Int[np.ndarray, "group {most}"]:
    places = np.arange(most)
    return np.where(places < counts[:, None], starts[:, None] + places, -1)


def _overlaps(
    pairs: Pairs, detections: np.ndarray, objects: np.ndarray
) -> Float[np.ndarray, "group detection object"]:
    """Computes the IoU of detections and objects, and with a crowd the share of the detection."""
    a, b = pairs.detections[detections][:, :, None], pairs.objects[objects][:, None]
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    sides = np.maximum(sides - np.maximum(a[..., :2], b[..., :2]), 0)
    both = sides[..., 0] * sides[..., 1]
    union = np.where(pairs.crowd[objects][:, None], _area(a), _area(a) + _area(b) - both)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(both > 0, both / union, 0.0)


def _match(
    overlaps: Float[np.ndarray, "group detection object"],
    ignored: Bool[np.ndarray, "group object area"],
    crowd: Bool[np.ndarray, "group object"],
    there: Bool[np.ndarray, "group object"],
    thresholds: Float[np.ndarray, " threshold"],
) -> tuple[np.ndarray, np.ndarray]:
    """Matches detections, the surest first, each to the object it overlaps with most of those that
    are left; one that does not count is taken only where no other is there. Of equal overlaps the
    last is taken.

    Returns which detections hit an object, and which hit one that does not count, both [group,
    detection, area, threshold].
    """
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    ignored = np.moveaxis(ignored, 2, 1)[:, :, None]  # [group, area, 1, object]
    crowd = crowd[:, None, None]
    groups, ranks, objects = overlaps.shape
    cases = ignored.shape[1], len(thresholds)
    free = np.broadcast_to(there[:, None, None], (groups, *cases, objects)).copy()
    hit, on_ignored = (np.zeros((groups, ranks, *cases), bool) for _ in range(2))
    for rank in range(ranks):
        overlap = overlaps[:, rank, None, None]  # [group, 1, 1, object]
        reached: Any = free & (overlap >= least)
        counted = reached & ~ignored
        any_counted: Any = counted.any(-1, keepdims=True)
        reached = np.where(any_counted, counted, reached)
        best = objects - 1 - np.argmax(np.where(reached, overlap, -1.0)[..., ::-1], axis=-1)
        found = reached.any(-1)
        hit[:, rank] = found
        on_ignored[:, rank] = found & ~any_counted[..., 0]
        taken = (np.arange(objects) == best[..., None]) & found[..., None]
        free &= ~(taken & ~crowd)
    return hit, on_ignored
