"""Losses of boxes and of classes, and suppression, against torchvision's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.fcos import DenseOutputs, places_of
from jaxmodels.objectives.dense_detection import dense_losses
from jaxmodels.objectives.dense_targets import centre_targets, objects_of
from jaxmodels.ops.boxes import distance_iou, generalized_iou, suppressed
from jaxmodels.ops.focal import sigmoid_focal
from tests.ops.test_boxes import boxes_of
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
ops = pytest.importorskip("torchvision.ops")
pytestmark = pytest.mark.parity


def torch_gradients(loss, *arrays):
    """The values of a loss, and the gradients of its sum."""
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    values = loss(*tensors)
    values.sum().backward()
    return values.detach().numpy(), [tensor.grad.numpy() for tensor in tensors]


@pytest.mark.parametrize("name", ["giou", "diou"])
def test_losses_of_boxes_and_their_gradients_are_torchvisions(name, float64):
    ours = {"giou": generalized_iou, "diou": distance_iou}[name]
    theirs = {"giou": ops.generalized_box_iou_loss, "diou": ops.distance_box_iou_loss}[name]
    # Drawn ones; one inside of another, equal ones, and ones far from each other.
    special = [[2, 2, 12, 9], [1, 1, 5, 5], [0, 0, 2, 2]]
    others = [[4, 3, 6, 7], [1, 1, 5, 5], [90, 70, 95, 90]]
    a = np.concatenate([boxes_of(0, 40), np.array(special, float)])
    b = np.concatenate([boxes_of(1, 40), np.array(others, float)])
    expected, gradients = torch_gradients(theirs, a, b)
    found, pull_back = jax.vjp(lambda *given: 1 - ours(*given), jnp.array(a), jnp.array(b))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    for ours_of, theirs_of in zip(pull_back(jnp.ones_like(found)), gradients, strict=True):
        np.testing.assert_allclose(ours_of, theirs_of, rtol=1e-9, atol=1e-12)


def test_the_focal_loss_and_its_gradients_are_torchvisions(float64):
    draw = np.random.default_rng(0)
    logits = np.concatenate([draw.normal(0, 3, 60), [-40.0, 40, -40, 40]])
    targets = np.concatenate([draw.integers(0, 2, 60), [0, 1, 1, 0]]).astype(float)
    for alpha, gamma in ((0.25, 2.0), (0.6, 1.5)):
        expected, [gradient] = torch_gradients(
            lambda x, a=alpha, g=gamma: ops.sigmoid_focal_loss(x, torch.tensor(targets), a, g),
            logits,
        )
        found, pull_back = jax.vjp(
            lambda x, a=alpha, g=gamma: sigmoid_focal(x, jnp.array(targets), a, g),
            jnp.array(logits),
        )
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)
        [ours] = pull_back(jnp.ones_like(found))
        np.testing.assert_allclose(ours, gradient, rtol=1e-9, atol=1e-15)


def test_the_losses_of_a_dense_detector_are_sums_of_torchvisions(float64):
    classes, draw = 3, np.random.default_rng(1)
    points, strides = places_of({8: (4, 6), 16: (2, 3)})
    edges = draw.uniform(2, 20, (2, len(points), 4))
    boxes = np.concatenate([points - edges[..., :2], points + edges[..., 2:]], -1)
    logits = draw.normal(size=(2, len(points), classes))
    truth = np.array([[[2, 3, 25, 27], [11, 9, 39, 31]], [[20, 4, 44, 30], [0, 0, 0, 0]]], float)
    labels = np.array([[2, 0], [1, -1]])
    given = [jnp.array(array) for array in (boxes, points, strides)]
    objects = objects_of(jnp.array(truth), jnp.array(labels), None)
    assigned = centre_targets(*given, objects, by_overlap=False)
    targets = jax.tree.map(np.asarray, assigned)

    def ours(logits, boxes):
        outputs = DenseOutputs(logits, boxes, *given[1:])
        return jnp.stack(dense_losses(outputs, assigned, "focal", "giou"))

    def theirs(logits, boxes):
        hot = torch.tensor(np.eye(classes + 1)[targets.labels][..., :classes])
        each = ops.sigmoid_focal_loss(logits, hot).sum((1, 2))
        misses = ops.generalized_box_iou_loss(boxes, torch.tensor(targets.boxes))
        found = torch.tensor(targets.labels >= 0)
        return torch.stack([each, torch.where(found, misses, 0).sum(1)])

    assert 4 < (targets.labels >= 0).sum() < targets.labels.size / 2
    expected, gradients = torch_gradients(theirs, logits, boxes)
    found, pull_back = jax.vjp(ours, jnp.array(logits), jnp.array(boxes))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    for ours_of, theirs_of in zip(pull_back(jnp.ones_like(found)), gradients, strict=True):
        np.testing.assert_allclose(ours_of, theirs_of, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("classes", [1, 3])
def test_suppression_is_torchvisions_with_ties(classes):
    picked = jax.jit(lambda *given: suppressed(*given, most=60, threshold=0.5))
    for seed in range(6):
        draw = np.random.default_rng(seed)
        # Whole pixels, so that some overlaps are half exactly; scores of which many are equal.
        boxes = np.round(boxes_of(seed, 58)).astype(np.float32)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        boxes = np.concatenate([boxes, [[0, 0, 20, 10], [0, 0, 10, 10]]]).astype(np.float32)
        scores = draw.integers(1, 9, 60).astype(np.float32) / 9
        labels = draw.integers(0, classes, 60).astype(np.int32)
        tensors = torch.tensor(boxes), torch.tensor(scores)
        if classes == 1:
            rows = ops.boxes.nms(*tensors, 0.5).numpy()
        else:
            rows = ops.boxes.batched_nms(*tensors, torch.tensor(labels), 0.5).numpy()
        found = jax.device_get(picked(*map(jnp.asarray, (boxes, scores, labels))))
        assert 10 < len(rows) < 60
        np.testing.assert_array_equal(found.boxes[: len(rows)], boxes[rows])
        np.testing.assert_array_equal(found.scores[: len(rows)], scores[rows])
        np.testing.assert_array_equal(found.labels[: len(rows)], labels[rows])
        assert (found.labels[len(rows) :] == -1).all()
