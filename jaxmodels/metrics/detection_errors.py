"""What is wrong with detections, by kind, after TIDE (Bolya et al. 2020, section 2.2)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmodels.metrics.average_precision import average_precision
from jaxmodels.metrics.detection_matching import Found, Objects

HIT_OVERLAP, LEAST_OVERLAP = 0.5, 0.1
HIT, CLASS, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, IGNORED = range(7)
KINDS = {
    "class": CLASS,
    "localisation": LOCALISATION,
    "class and localisation": BOTH,
    "duplicate": DUPLICATE,
    "background": BACKGROUND,
}
MISSED = "missed"


class Verdicts(NamedTuple):
    """What each detection is: a hit or an error of a kind; -1 where there is none. `object` is the
    object of its picture that it hits, or that it would hit without its error; -1: none. `missed`
    marks the objects that no detection hits or would hit, `unhit` those that none hits."""

    kind: Int[np.ndarray, "picture most"]
    object: Int[np.ndarray, "picture most"]
    missed: list[Bool[np.ndarray, " object"]]
    unhit: list[Bool[np.ndarray, " object"]]


def verdicts(found: Found, truth: Sequence[Objects]) -> Verdicts:
    """Judges all detections at an IoU of 0.5, in the order of their scores.

    A detection that hits nothing is an error of localisation if it overlaps with an object of its
    class by 0.1 or more; of class if it overlaps with one of another class by 0.5; a duplicate if
    the object was hit by a surer one; background if it overlaps with none by 0.1; else of class and
    localisation. What lies on a crowd is ignored.
    """
    labels = np.asarray(found.labels)
    kinds, objects = np.full(labels.shape, -1), np.full(labels.shape, -1)
    missed, unhit = [], []
    for row, true in enumerate(truth):
        there = np.flatnonzero(labels[row] >= 0)
        order = there[np.argsort(-np.asarray(found.scores)[row, there], kind="stable")]
        boxes = np.asarray(found.boxes, np.float64)[row, order]
        kind, chosen, hit = _judged(boxes, labels[row, order], true)
        kinds[row, order], objects[row, order] = kind, chosen
        meant = np.zeros(len(true.labels), bool)
        meant[chosen[np.isin(kind, (CLASS, LOCALISATION))]] = True
        unhit.append(~hit & ~true.crowd)
        missed.append(unhit[-1] & ~meant)
    return Verdicts(kinds, objects, missed, unhit)


def _judged(
    boxes: Float[np.ndarray, "detection 4"], labels: Int[np.ndarray, " detection"], true: Objects
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns kind and object of each detection of a picture, the surest first, and which objects
    are hit."""
    overlap = overlaps(boxes, np.asarray(true.boxes, np.float64), true.crowd)
    same = labels[:, None] == np.asarray(true.labels)
    counted = np.where(true.crowd, 0.0, overlap)
    of_class, of_others = np.where(same, counted, 0.0), np.where(same, 0.0, counted)
    kind, chosen = np.full(len(boxes), BACKGROUND), np.full(len(boxes), -1)
    hit = np.zeros(len(true.labels), bool)
    if not len(true.labels):
        return kind, chosen, hit
    for row in range(len(boxes)):
        best = int(np.where(hit, 0.0, of_class[row]).argmax())
        if not hit[best] and of_class[row, best] >= HIT_OVERLAP:
            kind[row], chosen[row], hit[best] = HIT, best, True
        elif (overlap[row] * (same[row] & true.crowd)).max() >= HIT_OVERLAP:
            kind[row] = IGNORED
        else:
            kind[row], chosen[row] = _error(of_class[row], of_others[row])
    return kind, chosen, hit


def _error(
    of_class: Float[np.ndarray, " object"], of_others: Float[np.ndarray, " object"]
) -> tuple[int, int]:
    near, other = int(of_class.argmax()), int(of_others.argmax())
    if LEAST_OVERLAP <= of_class[near] < HIT_OVERLAP:
        return LOCALISATION, near
    if of_others[other] >= HIT_OVERLAP:
        return CLASS, other
    if of_class[near] >= HIT_OVERLAP:
        return DUPLICATE, near
    if max(of_class[near], of_others[other]) < LEAST_OVERLAP:
        return BACKGROUND, -1
    return BOTH, other


def overlaps(
    boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"], crowd: Bool[np.ndarray, " m"]
) -> Float[np.ndarray, "n m"]:
    """Computes the IoU of each of n boxes with each of m, and with a crowd its share of the box."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    area, other = (np.prod(b[:, 2:] - b[:, :2], axis=-1) for b in (boxes, others))
    union = np.where(crowd, area[:, None], area[:, None] + other - both)
    return both / np.maximum(union, 1e-12)


class Errors(NamedTuple):
    """How many errors of a kind there are, and how much AP at an IoU of 0.5 they cost: how much
    higher it were if each were set right, the others staying."""

    count: int
    cost: float


def errors_by_kind(
    found: Found, truth: Sequence[Objects], classes: int, least: float = 0.0
) -> dict[str, Errors]:
    """Counts the errors of each kind among detections that score at least `least`, and the objects
    that none of these hits or would hit; and computes what the errors of all detections cost.

    A wrong class or place is set right on the object that is meant, by its surest detection if
    nothing hits it, and taken away else; other detections that are errors are taken away, and
    missed objects do not count (TIDE, section 2.3).
    """
    judged = verdicts(found, truth)
    fields = ("boxes", "scores", "labels")
    boxes, scores, labels = (np.asarray(getattr(found, name)) for name in fields)
    boxes = boxes.astype(np.float64)

    def precision(boxes: Any, labels: Any, truth: Sequence[Objects]) -> float:
        mended = _Mended(boxes, scores, labels)
        return average_precision(mended, truth, classes, np.array([HIT_OVERLAP]), ("all",)).mean()

    before = precision(boxes, labels, truth)
    errors = {}
    for name, kind in KINDS.items():
        wrong = judged.kind == kind
        mended = boxes.copy(), np.where(wrong, -1, labels)
        if kind in (CLASS, LOCALISATION):
            _set_right(wrong, judged, scores, truth, *mended)
        cost = precision(*mended, truth) - before
        errors[name] = Errors(int((wrong & (scores >= least)).sum()), cost)
    left = [_without(true, missed) for true, missed in zip(truth, judged.missed, strict=True)]
    # What surer detections are does not depend on the others.
    sure = _Mended(boxes, scores, np.where(scores >= least, labels, -1))
    count = sum(int(missed.sum()) for missed in verdicts(sure, truth).missed)
    errors[MISSED] = Errors(count, precision(boxes, labels, left) - before)
    return errors


class _Mended(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class _Left(NamedTuple):
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


def _without(true: Objects, missed: Bool[np.ndarray, " object"]) -> Objects:
    return _Left(true.boxes[~missed], true.labels[~missed], true.crowd[~missed])


def _set_right(
    wrong: Bool[np.ndarray, "picture most"],
    judged: Verdicts,
    scores: Float[np.ndarray, "picture most"],
    truth: Sequence[Objects],
    boxes: Float[np.ndarray, "picture most 4"],
    labels: Int[np.ndarray, "picture most"],
) -> None:
    """Gives, in place, the surest wrong detection of each object that nothing hits its box and
    class."""
    for row, true in enumerate(truth):
        places = np.flatnonzero(wrong[row])
        for place in places[np.argsort(-scores[row, places], kind="stable")].tolist():
            meant = judged.object[row, place]
            taken = (judged.object[row] == meant) & (labels[row] >= 0) & wrong[row]
            if judged.unhit[row][meant] and not taken.any():
                boxes[row, place] = true.boxes[meant]
                labels[row, place] = true.labels[meant]


def best_score(found: Found, judged: Verdicts) -> float:
    """Returns the score above which hits, by F1 over all classes, are most and errors fewest."""
    counted = (judged.kind >= 0) & (judged.kind != IGNORED)
    scores = np.asarray(found.scores)[counted]
    hits = judged.kind[counted] == HIT
    objects = hits.sum() + sum(int(unhit.sum()) for unhit in judged.unhit)
    if not hits.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    f1 = 2 * right / (np.arange(1, len(right) + 1) + objects)
    # Detections of equal scores stand or fall together.
    last = np.append(np.diff(scores[order]) != 0, True)
    return float(scores[order][np.where(last, f1, -1).argmax()])
