"""Average precision equals pycocotools, on cases that are made to be hard."""

from typing import NamedTuple

import numpy as np
import pytest

from jaxmodels.metrics.average_precision import average_precision, by_pycocotools
from jaxmodels.metrics.detection_matching import MOST


class Found(NamedTuple):
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Objects(NamedTuple):
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


def case(seed, pictures=6, classes=3, most=12, objects=8, side=8.0, levels=4):
    """Boxes on a coarse grid, so that overlaps and scores tie, some around the areas' limits."""
    random = np.random.default_rng(seed)

    def boxes(*shape):
        corner = random.integers(0, 6, (*shape, 2)) * side
        sizes = random.integers(1, 14, (*shape, 2)) * side
        return np.concatenate([corner, corner + sizes], axis=-1).astype(np.float64)

    truth = []
    for _ in range(pictures):
        count = int(random.integers(0, objects + 1))
        labels = random.integers(0, classes, count).astype(np.int32)
        truth.append(Objects(boxes(count), labels, random.random(count) < 0.2))
    found = boxes(pictures, most)
    # Half of the detections are objects, or nearly.
    for picture, objects_there in enumerate(truth):
        for place in range(0, most, 2):
            if len(objects_there.boxes):
                chosen = int(random.integers(len(objects_there.boxes)))
                moved = random.integers(-1, 2, 4) * side * random.integers(0, 2)
                box = objects_there.boxes[chosen] + moved
                if (box[2:] > box[:2]).all():
                    found[picture, place] = box
    labels = random.integers(-1, classes, (pictures, most)).astype(np.int32)
    scores = random.integers(1, levels + 1, (pictures, most)) / levels
    return Found(found, scores.astype(np.float32), labels), truth, classes


def same(found, truth, classes):
    ours, theirs = (f(found, truth, classes) for f in (average_precision, by_pycocotools))
    np.testing.assert_allclose(ours.precision, theirs.precision, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.recall, theirs.recall, rtol=0, atol=1e-12)
    some = average_precision(found, truth, classes, np.array([0.5]), ("all",))
    np.testing.assert_array_equal(some.precision, ours.precision[:1, :, :, :1])
    return ours


@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools_with_ties_crowds_and_areas(seed):
    ours = same(*case(seed, levels=1 + seed % 4, side=(8.0, 7.3, 16.0)[seed % 3]))
    assert 0 < ours.mean() < 1


def test_equals_pycocotools_with_boxes_of_32_bits():
    found, truth, classes = case(1)
    shift = np.random.default_rng(0).normal(size=found.boxes.shape)
    same(found._replace(boxes=(found.boxes + shift).astype(np.float32)), truth, classes)


def test_more_detections_than_count():
    found, truth, classes = case(3, pictures=2, classes=1, most=2 * MOST + 30, levels=50)
    found = found._replace(labels=np.zeros_like(found.labels))
    same(found, truth, classes)


def test_no_detections_and_no_objects():
    found, truth, classes = case(4)
    nothing = found._replace(labels=np.full_like(found.labels, -1))
    assert same(nothing, truth, classes).mean() == 0
    empty = [Objects(np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0, bool)) for _ in truth]
    assert np.isnan(same(found, empty, classes).mean())
    assert np.isnan(same(nothing, empty, classes).average_recall())
    crowds = [some._replace(crowd=np.ones_like(some.crowd)) for some in truth]
    assert np.isnan(same(found, crowds, classes).mean())


def test_perfect_detections_and_the_numbers_that_are_reported():
    _, truth, classes = case(5, pictures=8, objects=8)
    truth = [some._replace(crowd=np.zeros_like(some.crowd)) for some in truth]
    most = max(len(some.boxes) for some in truth)
    boxes, labels = np.zeros((8, most, 4)), np.full((8, most), -1)
    for row, some in enumerate(truth):
        boxes[row, : len(some.boxes)], labels[row, : len(some.labels)] = some.boxes, some.labels
    scores = np.random.default_rng(0).random((8, most))
    perfect = same(Found(boxes, scores, labels), truth, classes)
    assert perfect.mean() == pytest.approx(1) and perfect.per_class(0.75) == pytest.approx([1] * 3)
    assert perfect.average_recall() == 1 and (perfect.curve(0) > 1 - 1e-12).all()
    wrong = same(Found(boxes, scores, np.where(labels < 0, -1, (labels + 1) % 3)), truth, classes)
    assert wrong.mean(0.5) < 0.5


def test_means_are_those_that_pycocotools_prints():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from jaxmodels.metrics.average_precision import _coco_results, _coco_truth

    found, truth, classes = case(7)
    coco = COCO()
    coco.dataset = _coco_truth(truth, classes)
    coco.createIndex()
    scored = COCOeval(coco, coco.loadRes(_coco_results(found, classes)), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    ours = average_precision(found, truth, classes)
    sizes = [ours.mean(area=area) for area in ("small", "medium", "large")]
    printed = [ours.mean(), ours.mean(0.5), ours.mean(0.75), *sizes]
    np.testing.assert_allclose(np.nan_to_num(printed, nan=-1), scored.stats[:6], atol=1e-12)
    np.testing.assert_allclose(ours.average_recall(), scored.stats[8], atol=1e-12)
