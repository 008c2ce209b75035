"""Which places find which objects, against plain loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.fcos import places_of
from jaxmodels.objectives.dense_targets import aligned_targets, centre_targets, objects_of

CLASSES = 3
POINTS, STRIDES = places_of({8: (4, 6), 16: (2, 3)})  # of a canvas of 32 x 48 pixels
PLACES = len(POINTS)


def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared + 1e-7)


def example(seed):
    """Outputs and objects of a picture: two large ones that overlap, one that no place lies in."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(PLACES, CLASSES)).astype(np.float32)
    edges = generator.uniform(4, 14, (PLACES, 4)).astype(np.float32)
    boxes = np.concatenate([POINTS - edges[:, :2], POINTS + edges[:, 2:]], -1)
    truth = [[2, 3, 25, 27], [11, 9, 39, 31], [40.5, 1.0, 43.0, 3.5], [0, 0, 0, 0]]
    labels = np.array([2, 0, 1, -1], np.int32)
    return logits, boxes, np.array(truth, np.float32), labels


def is_in(point, box, stride):
    centre = (box[:2] + box[2:]) / 2
    inner = (point > box[:2]).all() and (point < box[2:]).all()
    return inner or (np.abs(point - centre) <= stride / 2).all()


def plainly_aligned(logits, boxes, truth, labels, most):
    scores = 1 / (1 + np.exp(-logits))
    chosen, measures, overlaps = {}, {}, {}
    for row, label in enumerate(labels):
        if label < 0:
            continue
        near = [p for p in range(PLACES) if is_in(POINTS[p], truth[row], STRIDES[p])]
        for p in near:
            overlaps[row, p] = overlap(truth[row], boxes[p])
            measures[row, p] = scores[p, label] ** 0.5 * overlaps[row, p] ** 6
        for p in sorted(near, key=lambda p, row=row: -measures[row, p])[:most]:
            chosen.setdefault(p, []).append(row)
    owners = {p: max(rows, key=lambda row, p=p: overlaps[row, p]) for p, rows in chosen.items()}
    quality = np.zeros(PLACES)
    for p, row in owners.items():
        own = [q for q, other in owners.items() if other == row]
        best = max(overlaps[row, q] for q in own) / (max(measures[row, q] for q in own) + 1e-9)
        quality[p] = measures[row, p] * best
    return owners, quality


@pytest.mark.slow
def test_objects_go_to_the_places_that_find_them_best():
    logits, boxes, truth, labels = example(0)
    owners, quality = plainly_aligned(logits, boxes, truth, labels, 5)
    objects = objects_of(jnp.array(truth[None]), jnp.array(labels[None]), None)
    given = (jnp.array(each) for each in (logits[None], boxes[None], POINTS, STRIDES))
    found = aligned_targets(*given, objects, most=5)
    expected = np.full(PLACES, -1)
    for place, row in owners.items():
        expected[place] = labels[row]
        np.testing.assert_array_equal(found.boxes[0, place], truth[row])
    np.testing.assert_array_equal(found.labels[0], expected)
    np.testing.assert_allclose(found.quality[0], quality, rtol=1e-4, atol=1e-7)
    assert float(found.count[0]) == pytest.approx(quality.sum(), rel=1e-4)
    assert {0, 1, 2} == set(owners.values())


def test_objects_go_to_places_near_their_centre_on_the_level_of_their_size():
    _, boxes, truth, labels = example(0)
    truth[1] = [0, 0, 48, 32]  # reaches further than four strides of the first level
    objects = objects_of(jnp.array(truth[None]), jnp.array(labels[None]), None)
    given = [jnp.array(each) for each in (boxes[None], POINTS, STRIDES)]
    found = centre_targets(*given, objects)
    expected = np.full(PLACES, -1)
    for place, (point, stride) in enumerate(zip(POINTS, STRIDES, strict=True)):
        rows = []
        for row in range(3):
            centre = (truth[row, :2] + truth[row, 2:]) / 2
            reach = max(*(point - truth[row, :2]), *(truth[row, 2:] - point))
            of_level = reach <= 8 * stride if stride == 8 else reach > 4 * stride
            near = (np.abs(point - centre) < 1.5 * stride).all()
            if near and of_level and is_in(point, truth[row], stride):
                rows.append(row)
        if rows:
            sides = truth[rows, 2:] - truth[rows, :2]
            row = rows[int(np.argmin(sides.prod(-1)))]
            expected[place] = labels[row]
            np.testing.assert_array_equal(found.boxes[0, place], truth[row])
            assert float(found.quality[0, place]) == pytest.approx(
                overlap(boxes[place], truth[row]), abs=1e-5
            )
    np.testing.assert_array_equal(found.labels[0], expected)
    assert float(found.count[0]) == (expected >= 0).sum() > 3


def test_nothing_is_right_or_wrong_in_a_crowd():
    logits, boxes, truth, labels = example(0)
    crowd = np.array([False, True, False, False])
    objects = objects_of(*(jnp.array(each[None]) for each in (truth, labels, crowd)))
    given = (jnp.array(each) for each in (logits[None], boxes[None], POINTS, STRIDES))
    found = aligned_targets(*given, objects)
    assert not (np.asarray(found.labels) == labels[1]).any()
    inner = ((truth[1, :2] < POINTS) & (truth[1, 2:] > POINTS)).all(-1)
    expected = ~inner | (np.asarray(found.labels[0]) >= 0)
    np.testing.assert_array_equal(found.counted[0], expected)
    assert not expected.all()
