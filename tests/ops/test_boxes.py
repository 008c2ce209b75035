"""Overlaps and suppression against plain numpy, gradients by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxmodels.ops.boxes import (
    best_detections,
    centred,
    cornered,
    distance_iou,
    generalized_iou,
    inside,
    iou,
    pairwise_iou,
    suppressed,
)


def boxes_of(seed, *shape):
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 40, (*shape, 2))
    return np.concatenate([low, low + generator.uniform(1, 30, (*shape, 2))], axis=-1)


def plain_iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def plain_suppression(boxes, scores, labels, threshold):
    kept = []
    for row in np.argsort(-scores, kind="stable"):
        if all(
            labels[row] != labels[other] or plain_iou(boxes[row], boxes[other]) <= threshold
            for other in kept
        ):
            kept.append(row)
    return kept


def plain_soft_suppression(boxes, scores, labels, sigma, least):
    scores, kept, left = scores.copy(), [], list(range(len(scores)))
    while left:
        row = max(left, key=lambda row: scores[row])
        if scores[row] <= least:
            break
        kept.append((row, scores[row]))
        left.remove(row)
        for other in left:
            if labels[other] == labels[row]:
                scores[other] *= np.exp(-(plain_iou(boxes[row], boxes[other]) ** 2) / sigma)
    return kept


def test_overlaps_of_known_boxes(float64):
    a = jnp.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [5, 5, 5, 5]], jnp.float64)
    b = jnp.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 3, 1], [5, 5, 5, 5]], jnp.float64)
    np.testing.assert_allclose(iou(a, b), [1 / 7, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(generalized_iou(a, b)[:3], [1 / 7 - 2 / 9, 1, -1 / 3], atol=1e-6)
    np.testing.assert_allclose(distance_iou(a, b)[:3], [1 / 7 - 2 / 18, 1, -4 / 10], atol=1e-6)
    assert np.isfinite(jax.grad(lambda a: generalized_iou(a, b).sum())(a)).all()


def test_overlaps_of_all_pairs_and_their_gradients(float64):
    a, b = boxes_of(0, 7), boxes_of(1, 5)
    expected = [[plain_iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(pairwise_iou(jnp.array(a), jnp.array(b)), expected, atol=1e-8)
    np.testing.assert_allclose(cornered(centred(jnp.array(a))), a, atol=1e-12)
    for function in (iou, generalized_iou, distance_iou):
        given = jnp.array(a[:5]), jnp.array(b)
        check_grads(lambda *xs, f=function: f(*map(jnp.asarray, xs)), given, order=1, modes=["rev"])


def test_points_in_boxes():
    found = inside(jnp.array([[1.0, 1.0], [3.0, 1.0]]), jnp.array([[0.0, 0, 2, 2], [0, 0, 4, 4]]))
    assert found.tolist() == [[True, False], [True, True]]


# The weights of a small sigma are 0 in 32 bits; a least score below 0 has such scores picked too.
@pytest.mark.parametrize(("sigma", "least"), [(0.0, 0.05), (0.5, 0.05), (1e-3, -1.0)])
def test_suppression_is_that_of_a_plain_loop(sigma, least):
    generator = np.random.default_rng(2)
    picked = jax.jit(
        lambda *given: suppressed(*given, most=40, threshold=0.4, sigma=sigma, least=least)
    )
    for seed in range(8):
        boxes = boxes_of(seed, 40).astype(np.float32)
        scores = generator.integers(1, 12, 40).astype(np.float32) / 12  # with ties
        labels = generator.integers(0, 3, 40).astype(np.int32)
        found = picked(*map(jnp.asarray, (boxes, scores, labels)))
        if sigma:
            kept = plain_soft_suppression(boxes, scores, labels, sigma, least)
            expected = [score for _, score in kept]
            found_scores = found.scores[: len(kept)]
            np.testing.assert_allclose(found_scores, expected, rtol=1e-4, atol=1e-6)
            assert (found.labels[: len(kept)] >= 0).all()
            continue
        rows = plain_suppression(boxes, scores, labels, 0.4)
        np.testing.assert_array_equal(found.boxes[: len(rows)], boxes[rows])
        np.testing.assert_array_equal(found.scores[: len(rows)], scores[rows])
        np.testing.assert_array_equal(found.labels[: len(rows)], labels[rows])
        assert (np.asarray(found.labels[len(rows) :]) == -1).all()


def test_the_best_pairs_of_place_and_class_compete():
    boxes = jnp.array([[[0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]]], jnp.float32)
    scores = jnp.array([[[0.9, 0.3], [0.8, 0.7], [0.2, 0.1]]], jnp.float32)
    found = best_detections(boxes, scores, most=4, candidates=5, threshold=0.5)
    assert found.labels[0].tolist() == [0, 1, 0, -1]
    np.testing.assert_allclose(found.scores[0], [0.9, 0.7, 0.2, 0])
    assert found.boxes[0, 1].tolist() == [0, 0, 9, 8]
