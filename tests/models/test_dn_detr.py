"""The DETR with denoising queries: who sees whom, where it begins, and what it learns by heart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.errors import InputError
from jaxmodels.metrics.average_precision import average_precision
from jaxmodels.models.box_decoder import BoxDecoder, BoxPrior, changed
from jaxmodels.models.dn_detr import DNDETRConfig
from jaxmodels.models.fcos import places_of
from jaxmodels.objectives.denoised_detection import DenoisedDetection
from jaxmodels.objectives.optimizers import OptimizerConfig

KEY, CLASSES, WIDTH = jax.random.key(0), 3, 16
SMALL = {"strides": (8, 16), "width": WIDTH, "depth": 0, "heads": 2, "hidden": 16, "queries": 5}
SMALL |= {"decoder_layers": 2, "groups": 2}


def decoder_of(seed=1):
    """A decoder all of whose numbers differ from their start, and the pictures' part of its
    arguments."""
    decoder = BoxDecoder(CLASSES, WIDTH, 2, 16, 2)
    points, _ = places_of({8: (3, 4)})
    memory = jax.random.normal(KEY, (1, len(points), WIDTH))
    fixed = memory, jnp.array(points / [32, 24]), jnp.array([8 / 32, 8 / 24])
    shape = jnp.zeros((1, 2, WIDTH)), jnp.zeros((1, 2, 4)), jnp.zeros((1, 2), int)
    variables = decoder.init(KEY, *shape, *fixed, train=False)
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    leaves = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return decoder, structure.unflatten(leaves), fixed


@pytest.mark.slow
def test_groups_see_neither_each_other_nor_does_anything_see_them():
    decoder, variables, fixed = decoder_of()
    groups = jnp.array([[1, 1, -1, 2, 2, -1, 0, 0, 0]])
    queries = jax.random.normal(jax.random.key(2), (1, 9, WIDTH))
    boxes = jax.random.uniform(jax.random.key(3), (1, 9, 4), minval=0.2, maxval=0.6)

    @jax.jit
    def decoded(queries, boxes):
        def matched(queries):
            outputs = decoder.apply(variables, queries, boxes, groups, *fixed, train=False)
            return sum(jnp.sum(column[:, :, 6:]) for column in outputs), outputs

        (_, outputs), gradient = jax.value_and_grad(matched, has_aux=True)(queries)
        return *outputs, gradient

    *before, gradient = decoded(queries, boxes)
    for group in (-1, 1, 2, 0):
        own = np.asarray(groups[0] == group)
        loud = jnp.where(own[:, None], 1e4, queries)
        after = decoded(loud, jnp.where(own[:, None], 0.9, boxes))
        for one, two in zip(before, after, strict=False):
            np.testing.assert_array_equal(one[:, :, ~own], two[:, :, ~own])
            assert (np.asarray(one[:, :, own]) != np.asarray(two[:, :, own])).any()
    # In a group all see each other.
    after = decoded(queries.at[0, 0].add(1.0), boxes)
    assert (np.asarray(before[0][:, 0, 1]) != np.asarray(after[0][:, 0, 1])).all()
    # Nor does the loss of the matched queries reach any other.
    np.testing.assert_array_equal(gradient[0, :6], 0)
    assert (np.asarray(gradient[0, 6:]) != 0).any(axis=-1).all()


def test_a_prior_is_a_normal_density_around_the_box():
    points, _ = places_of({4: (5, 7)})
    places, cell = points / [28, 20], np.array([4 / 28, 4 / 20])
    boxes = np.array([[[0.5, 0.4, 0.3, 0.2], [0.2, 0.7, 0.0, 0.1]]])
    arguments = [jnp.array(x, jnp.float32) for x in (boxes, places, cell)]
    found, variables = BoxPrior(4).init_with_output(KEY, jnp.ones((1, 2, 8)), *arguments)
    np.testing.assert_array_equal(variables["params"]["point"]["kernel"], 0)
    around = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    half = boxes[0, :, None, 2:] / 2
    gap = places - (boxes[0, :, None, :2] + half * around)[:, :, None]
    expected = -np.sum(gap**2 / (2 * (half**2 + cell**2)[:, :, None]), -1).swapaxes(0, 1)
    np.testing.assert_allclose(nn.softmax(found[0]), nn.softmax(expected), atol=1e-5)


def test_boxes_change_by_their_own_size():
    boxes = jnp.array([[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 0.0, 0.4]])
    found = changed(boxes, jnp.array([[1.0, -0.5, np.log(2.0), 9.0]] * 2))
    expected = [[0.7, 0.3, 0.4, 0.4 * np.e**2], [0.51, 0.3, 0.02, 0.4 * np.e**2]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(changed(boxes, jnp.zeros((2, 4)))[0], boxes[0])


@pytest.mark.slow
def test_queries_begin_as_the_best_places():
    model = DNDETRConfig(**{**SMALL, "decoder_layers": 1}).create(CLASSES)
    image = jax.random.normal(KEY, (2, 32, 48, 3))
    labels = jnp.array([[[0, -1], [1, -1]]] * 2)
    noised = labels, jnp.full((2, 2, 2, 4), 0.3)

    @jax.jit
    def started(image):
        variables = model.init(KEY, image)
        return variables, model.apply(variables, image, *noised)

    variables, found = started(image)
    plain = jax.eval_shape(model.apply, variables, image)
    assert plain.noised_logits.shape == (1, 2, 0, CLASSES)
    assert jax.tree.map(jnp.shape, found[:4]) == jax.tree.map(jnp.shape, plain[:4])
    # True boxes are what they were shown as, until something is learnt.
    np.testing.assert_allclose(found.noised_boxes, np.full((1, 2, 4, 4), 0.3), atol=1e-6)
    scores = np.max(found.dense.logits, axis=-1)
    for row in range(2):
        best = np.argsort(-scores[row], kind="stable")[:5]
        corners = np.clip(found.dense.boxes[row, best] / np.array([48, 32, 48, 32]), 0, 1)
        low, high = corners[:, :2], corners[:, 2:]
        expected = np.concatenate([(low + high) / 2, high - low], -1)
        np.testing.assert_allclose(found.boxes[0, row], expected, atol=1e-5)
    assert variables["params"]["labels"].shape == (CLASSES, WIDTH)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"heads": 3}, "expected a width that 4 and the heads divide"),
        ({"label_noise": 2.0}, "label_noise = 2.0; expected 0 to 1"),
        ({"class_loss": "focal"}, "expected one of cross_entropy, varifocal|class_loss"),
        ({"strides": (8, 32)}, "strides = 8 32; expected powers of 2"),
        ({"queries": 500}, "the canvas has 30 places: give --queries 30 or less"),
    ],
)
def test_what_makes_no_sense_is_refused(flags, told):
    with pytest.raises(InputError, match=told):
        model = DNDETRConfig(**{**SMALL, **flags}).create(CLASSES)
        jax.eval_shape(model.init, KEY, jnp.zeros((1, 32, 48, 3)))


class Truth(NamedTuple):
    """The objects of a picture."""

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


def canvases(count):
    """Pictures with two or three squares of two colours."""
    generator = np.random.default_rng(0)
    image = generator.uniform(-0.2, 0.2, (count, 48, 64, 3)).astype(np.float32)
    boxes = np.zeros((count, 4, 4), np.float32)
    labels = np.full((count, 4), -1, np.int32)
    for row in range(count):
        for number, left in enumerate((1, 22, 43)[: 2 + row % 2]):
            x, y = left + generator.integers(0, 3), generator.integers(0, 28)
            width, height = generator.integers(10, 18, 2)
            label = labels[row, number] = generator.integers(2)
            image[row, y : y + height, x : x + width, label] += 1
            boxes[row, number] = x, y, x + width, y + height
    return {"image": jnp.array(image), "boxes": jnp.array(boxes), "labels": jnp.array(labels)}


def trained(objective, batch, steps):
    """The state after training on one batch."""
    spec = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batch)
    state = jax.jit(lambda: objective.init(KEY, spec, objective.hyperparameters))()
    step = jax.jit(objective.step)
    for number in range(steps):
        state, _ = step(state, batch, jax.random.fold_in(KEY, number))
    return state


@pytest.mark.slow
def test_a_few_canvases_are_learnt_by_heart():
    optimizer = OptimizerConfig(learning_rate=3e-3, schedule="constant", optimizer="adamw")
    config = DNDETRConfig(**{**SMALL, "width": 32, "queries": 20, "hidden": 64})
    objective = DenoisedDetection(config.create(2), 2, optimizer, steps=120, groups=2)
    batch = canvases(8)
    # Without objects there is nothing to divide by, and no number may become infinite.
    empty = {**batch, "labels": jnp.full_like(batch["labels"], -1)}
    state = trained(objective, empty, 2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state["params"]))
    state = trained(objective, batch, 120)
    found = jax.tree.map(np.asarray, jax.jit(objective.predict)(state, batch, KEY))
    truth = []
    for boxes, labels in zip(
        *(np.asarray(batch[name]) for name in ("boxes", "labels")), strict=True
    ):
        real = labels >= 0
        truth.append(Truth(boxes[real], labels[real], np.zeros(real.sum(), bool)))
    assert average_precision(found, truth, 2, areas=("all",)).mean(0.5) > 0.9
