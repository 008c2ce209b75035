"""The loss of queries, noised objects and a dense head, against plain loops; and the noise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.optimize import linear_sum_assignment

from jaxmodels.models.dn_detr import RefinedOutputs
from jaxmodels.models.fcos import DenseOutputs, places_of
from jaxmodels.objectives.denoised_detection import DenoisedDetection, noised
from jaxmodels.objectives.dense_detection import DenseDetection
from jaxmodels.objectives.dense_targets import objects_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import example_keys
from tests.marks import slow_but

CLASSES, LAYERS, QUERIES, GROUPS, MOST = 3, 2, 6, 2, 3
SIDES = np.array([48.0, 32.0], np.float32)
POINTS, STRIDES = places_of({8: (4, 6)})
KEYS = example_keys(jax.random.key(0), jnp.arange(2))
TRUTH = np.array([[[2, 3, 25, 27], [11, 9, 39, 31], [0, 0, 0, 0]]] * 2, np.float32)
LABELS = np.array([[2, 0, -1], [1, -1, -1]], np.int32)


COMMON = {"model": nn.Dense(1), "classes": CLASSES, "optimizer": OptimizerConfig(), "steps": 1}
# As many places learn an object as in a dense detector.
DENSE = {"dense_weight": 0.5, "positives": 10, "groups": GROUPS}


@partial(jax.jit, static_argnames="class_loss")
def losses_of(outputs, batch, class_loss="cross_entropy"):
    objective = DenoisedDetection(**COMMON, **DENSE, class_loss=class_loss)
    return objective.picture_losses(outputs, batch)


def outputs_of(seed=0):
    generator = np.random.default_rng(seed)

    def refined(count):
        logits = generator.normal(size=(LAYERS, 2, count, CLASSES)).astype(np.float32)
        boxes = generator.uniform(0.1, 0.6, (LAYERS, 2, count, 4)).astype(np.float32)
        return jnp.array(logits), jnp.array(boxes)

    places = len(POINTS)
    edges = generator.uniform(2, 9, (2, places, 4))
    boxes = np.concatenate([POINTS - edges[..., :2], POINTS + edges[..., 2:]], -1)
    logits = generator.normal(size=(2, places, CLASSES))
    dense = DenseOutputs(*(jnp.array(x, jnp.float32) for x in (logits, boxes, POINTS, STRIDES)))
    return RefinedOutputs(*refined(QUERIES), jnp.array(SIDES), dense, *refined(GROUPS * 2 * MOST))


def batch_of(truth=TRUTH, crowd=False):
    crowds = jnp.full(LABELS.shape, crowd)
    return {"boxes": jnp.array(truth), "labels": jnp.array(LABELS), "crowd": crowds}


def overlaps(box, corners):
    """IoU and generalized IoU of a box by centre and size with one by corners."""
    a = np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])

    def area(low, high):
        return np.prod(np.maximum(high - low, 0))

    both = area(np.maximum(a[:2], corners[:2]), np.minimum(a[2:], corners[2:]))
    union = area(a[:2], a[2:]) + area(corners[:2], corners[2:]) - both
    hull = area(np.minimum(a[:2], corners[:2]), np.maximum(a[2:], corners[2:]))
    return both / union, both / union - (hull - union) / hull


def distance(box, corners):
    low, high = corners[:2], corners[2:]
    return np.abs(box - np.concatenate([(low + high) / 2, high - low])).sum()


def plainly(logits, boxes, pairs, varifocal=False, left_out=()):
    """Both losses of one layer and picture; pairs: {query: (label, corners)}."""
    of_classes = of_boxes = 0.0
    for query in set(range(len(boxes))) - set(left_out):
        label, corners = pairs.get(query, (None, None))
        overlap = overlaps(boxes[query], corners) if query in pairs else (0, 0)
        for number in range(CLASSES):
            target = overlap[0] if number == label else 0
            p = 1 / (1 + np.exp(-float(logits[query, number])))
            loss = -target * np.log(p) - (1 - target) * np.log(1 - p)
            weight = target if target > 0 else 0.75 * p**2
            of_classes += weight * loss if varifocal else loss
        if query in pairs:
            of_boxes += 5 * distance(boxes[query], corners) + 2 * (1 - overlap[1])
    return of_classes, of_boxes


def assigned(logits, boxes, objects):
    cost = [
        [
            5 * distance(box, corners)
            - 2 * overlaps(box, corners)[1]
            - 2 / (1 + np.exp(-own[label]))
            for box, own in zip(boxes, logits, strict=True)
        ]
        for label, corners in objects
    ]
    rows, columns = linear_sum_assignment(np.array(cost))
    return {int(column): objects[row] for row, column in zip(rows, columns, strict=True)}


@pytest.mark.parametrize("class_loss", slow_but("cross_entropy", ["cross_entropy", "varifocal"]))
def test_losses_are_those_of_plain_loops(class_loss):
    outputs, varifocal = outputs_of(), class_loss == "varifocal"
    found = losses_of(outputs, batch_of(), class_loss)
    # The dense head learns as a dense detector does.
    dense = DenseDetection(**COMMON, class_loss=class_loss)
    dense_losses = jax.jit(dense.picture_losses)(outputs.dense, batch_of()).loss
    shares = TRUTH / np.tile(SIDES, 2)
    plain = jax.tree.map(np.asarray, outputs)
    for row in range(2):
        real = [n for n in range(MOST) if LABELS[row, n] >= 0]
        objects = [(int(LABELS[row, n]), shares[row, n]) for n in real]
        total = np.zeros(2)
        others = 0.5 * float(dense_losses[row])
        for layer in range(LAYERS):
            given = plain.logits[layer, row], plain.boxes[layer, row]
            total += plainly(*given, assigned(*given, objects), varifocal)
            # A group is all objects near, then all farther off.
            starts = [group * 2 * MOST for group in range(GROUPS)]
            pairs = {s + n: o for s in starts for n, o in zip(real, objects, strict=True)}
            padding = {s + n for s in range(0, GROUPS * 2 * MOST, MOST) for n in range(MOST)}
            padding -= {s + n for s in range(0, GROUPS * 2 * MOST, MOST) for n in real}
            given = plain.noised_logits[layer, row], plain.noised_boxes[layer, row]
            others += sum(plainly(*given, pairs, varifocal, padding)) / GROUPS
        assert float(found.class_loss[row]) == pytest.approx(total[0], rel=1e-4)
        assert float(found.box_loss[row]) == pytest.approx(total[1], rel=1e-4)
        assert float(found.loss[row]) == pytest.approx(total.sum() + others, rel=1e-4)
        assert float(found.count[row]) == len(real)


@pytest.mark.slow
def test_padding_changes_nothing_and_a_crowd_rejects_nothing():
    outputs = outputs_of()
    expected = losses_of(outputs, batch_of())
    odd = np.where((LABELS < 0)[..., None], [-3e3, 5, 1e4, 7], TRUTH).astype(np.float32)
    found = losses_of(outputs, batch_of(odd))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    # The same object, as a crowd over all of the picture.
    whole = np.tile(np.array([0, 0, 48, 32], np.float32), (2, MOST, 1))
    found = losses_of(outputs, batch_of(whole, crowd=True))
    jax.tree.map(lambda column: np.testing.assert_array_equal(column, 0), found)


@pytest.mark.slow
def test_noise_is_near_or_farther_off_and_each_objects_own():
    def made(truth, labels, **options):
        objects = objects_of(jnp.array(truth), jnp.array(labels), None)
        objects = objects._replace(boxes=objects.boxes / np.tile(SIDES, 2))
        options = {"label_noise": 0.0, "box_noise": 0.4, **options}
        make = jax.jit(partial(noised, groups=GROUPS, classes=CLASSES, **options))
        return jax.tree.map(np.asarray, make(objects, KEYS))

    labels, boxes = made(TRUTH, LABELS)
    assert labels.shape == (2, GROUPS, 2 * MOST) and boxes.shape == (*labels.shape, 4)
    np.testing.assert_array_equal(labels, np.tile(LABELS[:, None], (1, GROUPS, 2)))
    corners = np.concatenate(
        [boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1
    )
    shares = (TRUTH / np.tile(SIDES, 2))[:, None, None]
    half = np.tile((shares[..., 2:] - shares[..., :2]) / 2, 2)
    moved = corners.reshape(2, GROUPS, 2, MOST, 4) - shares
    inner = (corners > 0).reshape(moved.shape) & (corners < 1).reshape(moved.shape)
    real = np.broadcast_to((LABELS >= 0)[:, None, None, :, None], moved.shape)
    far = np.abs(moved) / np.where(half > 0, half, 1)
    near = far[:, :, 0][(real & inner)[:, :, 0]]
    assert near.size > 10 and near.max() <= 0.4 + 1e-4 and near.std() > 0.05
    farther = far[:, :, 1][(real & inner)[:, :, 1]]
    assert farther.size > 10 and farther.min() >= 0.4 - 1e-4 and farther.max() <= 0.8 + 1e-4
    assert len(np.unique(far[real & inner])) > 0.9 * (real & inner).sum()
    # More padding, and another object in its place, leave an object's noise as it is.
    wide = np.pad(TRUTH, ((0, 0), (0, 2), (0, 0))), np.pad(LABELS, ((0, 0), (0, 2)))
    wide[1][:, MOST:] = -1
    drawn, again = made(*wide, label_noise=1.0)
    again = again.reshape(2, GROUPS, 2, MOST + 2, 4)[:, :, :, :MOST]
    np.testing.assert_array_equal(again, boxes.reshape(2, GROUPS, 2, MOST, 4))
    drawn = drawn.reshape(2, GROUPS, 2, MOST + 2)[..., :MOST].reshape(labels.shape)
    assert (drawn[labels < 0] == -1).all() and (drawn[labels >= 0] >= 0).all()
    assert (drawn != labels).any()
