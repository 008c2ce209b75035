"""Errors of detections by kind: cases that are known by hand, and what mending them gains."""

from typing import NamedTuple

import numpy as np
import pytest

from jaxmodels.metrics import detection_errors as de
from jaxmodels.metrics.average_precision import average_precision


class Found(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Objects(NamedTuple):
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


TRUTH = [
    Objects(
        np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 80, 10.0]]),
        np.array([0, 0, 1, 0]),
        np.array([False, False, False, True]),
    )
]
CASES = {
    "hit": ([0, 0, 10, 9], 0, de.HIT, 0),
    "class": ([20, 0, 30, 9], 1, de.CLASS, 1),
    "localisation": ([20, 0, 24, 10], 0, de.LOCALISATION, 1),
    "both": ([40, 0, 44, 10], 0, de.BOTH, 2),
    "background": ([90, 0, 99, 10], 0, de.BACKGROUND, -1),
    "crowd": ([62, 0, 70, 10], 0, de.IGNORED, -1),
}


def found_of(*boxes):
    boxes = list(boxes)
    columns = [np.array([[box for box, *_ in boxes]], float)]
    columns += [np.array([[score for *_, score in boxes]])]
    columns += [np.array([[label for _, label, _ in boxes]])]
    return Found(*columns)


@pytest.mark.parametrize("name", CASES)
def test_kinds_are_those_of_tide(name):
    box, label, kind, meant = CASES[name]
    judged = de.verdicts(found_of((box, label, 0.9)), TRUTH)
    assert judged.kind.tolist() == [[kind]] and judged.object.tolist() == [[meant]]
    hit, close = kind == de.HIT, kind in (de.HIT, de.CLASS, de.LOCALISATION)
    assert judged.unhit[0].tolist() == [not (hit and at == meant) and at < 3 for at in range(4)]
    assert judged.missed[0].sum() == 3 - close


def test_a_second_detection_is_a_duplicate_of_the_surer_one():
    found = found_of(([0, 0, 10, 8], 0, 0.5), ([0, 0, 10, 10], 0, 0.4), ([0, 0, 10, 9], -1, 0.9))
    judged = de.verdicts(found, TRUTH)
    assert judged.kind.tolist() == [[de.HIT, de.DUPLICATE, -1]]


def test_a_picture_without_objects_has_background_alone():
    empty = [Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))]
    judged = de.verdicts(found_of(([0, 0, 10, 10], 0, 0.5)), empty)
    assert judged.kind.tolist() == [[de.BACKGROUND]] and not judged.missed[0].size


def test_costs_are_what_mending_gains():
    found = found_of(
        ([90, 0, 99, 10], 0, 0.95),
        ([0, 0, 10, 10], 0, 0.9),
        ([0, 0, 10, 9], 0, 0.8),
        ([20, 0, 24, 10], 0, 0.7),
        ([40, 0, 50, 10], 0, 0.6),
    )
    errors = de.errors_by_kind(found, TRUTH, 2, least=0.65)
    counts = {kind: error.count for kind, error in errors.items()}
    assert counts == {
        "class": 0,
        "localisation": 1,
        "class and localisation": 0,
        "duplicate": 1,
        "background": 1,
        "missed": 1,  # only a detection of a lower score is near, and of another class
    }
    assert de.errors_by_kind(found, TRUTH, 2)["missed"].count == 0

    def ap50(boxes, labels):
        mended = Found(np.array([boxes], float), found.scores, np.array([labels]))
        return average_precision(mended, TRUTH, 2).mean(0.5)

    boxes, labels = found.boxes[0].tolist(), [0, 0, 0, 0, 0]
    before = ap50(boxes, labels)
    right = [*boxes[:3], [20, 0, 30, 10], boxes[4]]
    assert errors["localisation"].cost == pytest.approx(ap50(right, labels) - before)
    assert errors["class"].cost == pytest.approx(ap50(boxes, [0, 0, 0, 0, 1]) - before)
    assert errors["background"].cost == pytest.approx(ap50(boxes, [-1, 0, 0, 0, 0]) - before)
    assert errors["duplicate"].cost == pytest.approx(ap50(boxes, [0, 0, -1, 0, 0]) - before)
    assert all(error.cost > 0 for kind, error in errors.items() if kind in ("class", "background"))
    assert errors["missed"].cost == 0


def test_a_missed_object_costs_its_recall():
    found = found_of(([0, 0, 10, 10], 0, 0.9))
    errors = de.errors_by_kind(found, TRUTH, 2)
    assert errors["missed"].count == 2
    before = average_precision(found, TRUTH, 2).mean(0.5)
    assert errors["missed"].cost == pytest.approx(1 - before)


def test_the_best_score_has_the_best_f1():
    found = found_of(
        ([0, 0, 10, 10], 0, 0.9), ([20, 0, 30, 10], 0, 0.6), ([90, 0, 99, 9], 0, 0.6),
        ([70, 50, 80, 60], 0, 0.5),
    )  # fmt: skip
    assert de.best_score(found, de.verdicts(found, TRUTH)) == 0.6
    nothing = found_of(([90, 0, 99, 9], 0, 0.6))
    assert de.best_score(nothing, de.verdicts(nothing, TRUTH)) == 0.5
