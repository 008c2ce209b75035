"""Losses of detectors: one number of positives for all parts and devices, and predictions."""

from dataclasses import replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.models.detr import SetOutputs
from jaxmodels.models.dn_detr import RefinedOutputs
from jaxmodels.models.fcos import DenseOutputs, places_of
from jaxmodels.objectives.denoised_detection import DenoisedDetection
from jaxmodels.objectives.dense_detection import DenseDetection
from jaxmodels.objectives.detection import Choice
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.set_detection import SetDetection
from jaxmodels.protocol import DATA_AXIS, Mean
from tests.marks import slow, slow_but

CLASSES, BATCH, MOST, KEY = 3, 8, 6, jax.random.key(0)
SGD = OptimizerConfig(optimizer="momentum", learning_rate=0.1, schedule="constant")


class Dense(nn.Module):
    """A dense detector of one linear layer on squares of 8 pixels."""

    @nn.compact
    def __call__(self, x, *, train=False):
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 8, 8, width // 8, 8, channels).swapaxes(2, 3)
        x = nn.Dense(CLASSES + 4)(x.reshape(batch, -1, 64 * channels))
        points, strides = map(jnp.asarray, places_of({8: (height // 8, width // 8)}))
        edges = 8 * jnp.exp(x[..., CLASSES:])
        boxes = jnp.concatenate([points - edges[..., :2], points + edges[..., 2:]], -1)
        return DenseOutputs(x[..., :CLASSES], boxes, points, strides)


class Queries(nn.Module):
    """A set detector with a linear layer for each query, and two layers of outputs."""

    queries: int = 7

    @nn.compact
    def __call__(self, x, *, train=False):
        sides = jnp.array(x.shape[2:0:-1], jnp.float32)
        x = nn.Dense(2 * self.queries * (CLASSES + 5))(x.reshape(len(x), -1))
        x = x.reshape(-1, 2, self.queries, CLASSES + 5).swapaxes(0, 1)
        return SetOutputs(x[..., : CLASSES + 1], nn.sigmoid(x[..., CLASSES + 1 :]), sides)


class Refined(nn.Module):
    """Both, with one class less for the queries, and a linear layer for noised objects."""

    @nn.compact
    def __call__(self, x, labels=None, boxes=None, *, train=False):
        dense, found = Dense()(x), Queries()(x)
        if labels is None or boxes is None:
            boxes = jnp.zeros((len(x), 0, 0, 4))
        boxes = jnp.tile(boxes.reshape(len(x), -1, 4), (2, 1, 1, 1))
        noised = nn.Dense(CLASSES)(boxes), nn.sigmoid(4 * boxes - 2 + nn.Dense(4)(boxes))
        return RefinedOutputs(found.logits[..., 1:], found.boxes, found.sides, dense, *noised)


def batch_of(count=BATCH, seed=0):
    """Pictures with from none to all boxes."""
    generator = np.random.default_rng(seed)
    image = 0.1 * generator.normal(size=(count, 24, 32, 1)).astype(np.float32)
    low = generator.uniform(0, 12, (count, MOST, 2))
    boxes = np.concatenate([low, low + generator.uniform(3, 12, low.shape)], -1)
    numbers = generator.integers(0, MOST + 1, count)
    numbers[:2] = 0, MOST
    labels = generator.integers(0, CLASSES, (count, MOST))
    labels[np.arange(MOST) >= numbers[:, None]] = -1
    columns = {"image": image, "boxes": boxes.astype("f4"), "labels": labels.astype("i4")}
    return {name: jnp.asarray(column) for name, column in columns.items()}


def objective_of(kind, **options):
    common = {"classes": CLASSES, "optimizer": SGD, "steps": 10}
    if kind == "set":
        return SetDetection(model=Queries(), **common, **options)
    if kind == "denoised":
        return DenoisedDetection(model=Refined(), **common, **options)
    return DenseDetection(model=Dense(), **common, **options)


def started(objective, batch):
    spec = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
    return objective.init(KEY, spec, objective.hyperparameters)


def assert_same(a, b, **tolerance):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def mean_and_gradients(objective, state, batch):
    """The mean of the losses of pictures, and its gradients."""
    params, losses = objective.losses(state, batch, KEY)
    loss, gradients = jax.jit(jax.value_and_grad(lambda params: losses(params).mean()))(params)
    return float(loss), gradients


def on_four_devices(objective, state, batch):
    """The state after a step, and its sums."""
    shared = jax.tree.map(lambda column: column.reshape(4, -1, *column.shape[1:]), batch)
    step = jax.pmap(objective.step, DATA_AXIS, in_axes=(None, 0, None), devices=jax.devices()[:4])
    mapped, sums = step(state, shared, KEY)
    return jax.tree.map(lambda leaf: leaf[0], mapped), jax.tree.map(lambda leaf: leaf.sum(0), sums)


def step_taken(before, after):
    """The gradients of a first step of momentum."""
    return jax.tree.map(
        lambda old, new: (old - new) / SGD.learning_rate, before["params"], after["params"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", slow("set"), slow("denoised")])
def test_positives_are_counted_over_all_parts_and_devices(kind):
    objective, batch = objective_of(kind, ema=0.9), batch_of()
    state = started(objective, batch)
    whole, sums = jax.jit(objective.step)(state, batch, KEY)
    losses = objective.summarize(sums)
    parts = jax.jit(replace(objective, accumulate=2).step)(state, batch, KEY)
    assert_same(whole["params"], parts[0]["params"], rtol=2e-4, atol=1e-6)
    assert objective.summarize(parts[1]) == pytest.approx(losses, rel=1e-5)
    if jax.device_count() < 4:
        return
    mapped, sums = on_four_devices(objective, state, batch)
    assert_same(whole["params"], mapped["params"], rtol=2e-4, atol=1e-6)
    assert objective.summarize(sums) == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("kind", [slow("dense"), slow("set"), slow("denoised")])
def test_losses_of_pictures_and_their_gradients_are_those_of_the_step(kind):
    objective, batch = objective_of(kind), batch_of()
    state = started(objective, batch)
    loss, gradients = mean_and_gradients(objective, state, batch)
    stepped, sums = jax.jit(objective.step)(state, batch, KEY)
    assert loss == pytest.approx(objective.summarize(sums)["loss"])
    assert_same(gradients, step_taken(state, stepped), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [slow("dense"), "set", slow("denoised")])
def test_an_evaluation_is_the_same_however_the_split_is_divided(kind):
    objective, batch = objective_of(kind), batch_of()
    state = started(objective, batch)
    split = {**batch, "valid": jnp.arange(BATCH) < 7, "position": jnp.arange(BATCH)}
    evaluate = jax.jit(objective.evaluate)
    at_once = evaluate(state, split, KEY)
    pieces = [
        evaluate(state, {name: column[rows] for name, column in split.items()}, KEY)
        for rows in (slice(0, 4), slice(4, 8))
    ]
    added = jax.tree.map(jnp.add, *pieces)
    expected = objective.summarize(at_once)
    assert objective.summarize(added) == pytest.approx(expected, rel=1e-5)
    first = {name: column[:7] for name, column in batch.items()}
    _, sums = jax.jit(objective.step)(state, first, KEY)
    assert objective.summarize(sums) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "kinds",
    slow_but(
        ("centre", "focal"),
        product(("aligned", "centre"), ("cross_entropy", "varifocal", "focal")),
    ),
)
def test_what_has_no_object_has_no_gradient_of_its_box(kinds):
    objective = objective_of("dense", assignment=kinds[0], class_loss=kinds[1], box_loss="diou")
    batch = batch_of(2)
    batch["labels"] = batch["labels"].at[1].set(-1)
    state = started(objective, batch)
    outputs = objective.model.apply({"params": state["params"]}, batch["image"])

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def differentiated(boxes):
        losses = objective.picture_losses(outputs._replace(boxes=boxes), batch)
        return losses.box_loss.sum(), losses

    (_, losses), gradient = differentiated(outputs.boxes)
    assert np.isfinite(losses.loss).all() and float(losses.box_loss[1]) == 0
    # Both without objects: the first picture of `batch_of` has none either.
    np.testing.assert_array_equal(gradient, 0)
    assert float(losses.count.sum()) == 0


@pytest.mark.parametrize(("accumulate", "devices"), [(1, 1), slow(2, 1), slow(1, 4)])
def test_one_poor_object_does_not_multiply_the_losses_of_all_places(accumulate, devices):
    objective, batch = objective_of("dense", accumulate=accumulate), batch_of(4)
    # No box of the untrained model is as small.
    batch["boxes"] = batch["boxes"].at[0, 0].set(jnp.array([9.0, 9, 12, 12]))
    batch["labels"] = jnp.full_like(batch["labels"], -1).at[0, 0].set(1)
    state = started(objective, batch)

    def total(params):
        outputs = objective.model.apply({"params": params}, batch["image"])
        losses = objective.picture_losses(outputs, batch)
        return losses.loss.sum(), losses.count.sum()

    (expected, count), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(state["params"])
    assert 0 < count < 0.5
    if devices > jax.device_count():
        pytest.skip("needs 4 simulated devices")
    if devices > 1:
        stepped, sums = on_four_devices(objective, state, batch)
    else:
        stepped, sums = jax.jit(objective.step)(state, batch, KEY)
    assert objective.summarize(sums)["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert_same(step_taken(state, stepped), gradients, rtol=1e-3, atol=1e-4)
    loss, of_losses = mean_and_gradients(objective, state, batch)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert_same(of_losses, gradients, rtol=1e-3, atol=1e-4)


def test_a_set_learns_from_a_batch_without_objects_that_there_are_none():
    objective, batch = objective_of("set"), batch_of(4)
    batch["labels"] = jnp.full_like(batch["labels"], -1)
    state = started(objective, batch)
    stepped, sums = jax.jit(objective.step)(state, batch, KEY)
    logits = objective.model.apply({"params": state["params"]}, batch["image"]).logits
    surprise = -jax.nn.log_softmax(logits)[..., CLASSES]
    found = objective.summarize(sums)
    assert found["class_loss"] == pytest.approx(float(surprise.mean((1, 2)).sum()), rel=1e-5)
    assert found["loss"] == found["class_loss"] and found["box_loss"] == 0
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(step_taken(state, stepped)))


def test_a_window_of_skipped_steps_has_no_loss():
    zero = Mean(np.float64(0), np.float64(0))
    for kind in ("dense", "set"):
        found = objective_of(kind).summarize(dict.fromkeys(("class_loss", "box_loss"), zero))
        assert np.isnan(list(found.values())).all()


def test_predictions_are_in_pixels_of_the_picture_and_inside_of_it():
    objective = objective_of("dense", choice=Choice(most=5, candidates=30))
    batch = batch_of(2)
    batch |= {"scale": jnp.array([0.5, 1.0]), "size": jnp.array([[30, 64], [24, 20]])}
    state = started(objective, batch)
    found = objective.predict(state, batch, KEY)
    plain = objective.predict(state, {"image": batch["image"]}, KEY)
    np.testing.assert_array_equal(found.scores, plain.scores)
    assert found.boxes.shape == (2, 5, 4) and (np.diff(found.scores) <= 0).all()
    edges = np.array([[64, 30, 64, 30], [20, 24, 20, 24]])[:, None]
    expected = np.clip(plain.boxes / np.array([0.5, 1.0])[:, None, None], 0, edges)
    np.testing.assert_allclose(found.boxes, expected, rtol=1e-6)


def test_a_set_has_a_query_for_each_object_and_less_detections_than_asked_for():
    objective = objective_of("set", choice=Choice(most=9))
    batch = batch_of(2)
    state = started(objective, batch)
    found = objective.predict(state, {"image": batch["image"]}, KEY)
    assert found.labels.shape == (2, 9)
    assert (np.asarray(found.labels[:, 7:]) == -1).all() and (found.labels[:, :7] >= 0).all()
