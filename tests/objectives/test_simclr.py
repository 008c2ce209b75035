"""SimCLR (Chen et al. 2020) as a researcher would write it: nothing of the engine is copied.

Its loss compares all examples of the global batch, so it also tests `across.gather`.
"""

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxmodels import across
from jaxmodels.data import Resident
from jaxmodels.objectives.augmentation import AugmentationConfig, make_augmentation
from jaxmodels.objectives.descent import descend, initial_state, learned_of, of_trained
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.protocol import Objective, Score, mean_over
from jaxmodels.train.evaluation import SplitProgram
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram
from tests.marks import slow

needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


@dataclass(frozen=True)
class SimCLR:
    """Draws two views of each image of {"image": ...} together and all others apart."""

    encoder: nn.Module  # [batch, height, width, channels] -> [batch, features]
    head: nn.Module  # [batch, features] -> [batch, projection]
    augment: Change
    prepare: Change
    optimizer: OptimizerConfig
    steps: int
    temperature: float = 0.5

    scores = {"loss": Score("lower", "nats", "NT-Xent over both views of a batch.")}  # noqa: RUF012

    @property
    def hyperparameters(self):
        return {**self.optimizer.hyperparameters(), "temperature": self.temperature}

    def init(self, key, spec, hyperparameters):
        images = jax.eval_shape(self.prepare, spec, key)["image"]
        features, encoder = self.encoder.init_with_output(key, jnp.zeros(images.shape))
        head = self.head.init(jax.random.fold_in(key, 1), features)
        params = {"encoder": encoder["params"], "head": head["params"]}
        return initial_state(self.optimizer, {"params": params}, hyperparameters, key=key)

    def project(self, params, batch, key):
        batch = self.prepare(self.augment(batch, key), key)
        features = self.encoder.apply({"params": params["encoder"]}, batch["image"])
        projections = self.head.apply({"params": params["head"]}, features)
        return projections / jnp.linalg.norm(projections, axis=-1, keepdims=True)

    def loss(self, temperature, params, carried, batch, key):
        views = [self.project(params, batch, jax.random.fold_in(key, view)) for view in range(2)]
        loss = mean_over(*nt_xent(*views, temperature, batch.get("valid")))
        return loss, carried, {"loss": loss}

    def step(self, state, batch, key):
        loss = of_trained(partial(self.loss, state["hyperparameters"]["temperature"]), state)
        gradients, _, sums = gradients_of(loss, state["params"], {}, batch, key)
        return descend(self.optimizer, self.steps, state, gradients), sums

    def evaluate(self, state, batch, key):
        temperature = state["hyperparameters"]["temperature"]
        return self.loss(temperature, learned_of(state)["params"], {}, batch, key)[2]

    @staticmethod
    def summarize(sums):
        return {"loss": sums["loss"].value()}


def nt_xent(first, second, temperature, valid=None):
    """The loss of each view of this device's examples, and which of them count (equation 1)."""
    valid = jnp.ones(len(first), bool) if valid is None else valid
    others, counted = across.gather(first), across.gather(valid)
    others = jnp.concatenate([others, across.gather(second)])
    here, count = across.positions(len(first)), across.global_count(len(first))
    mine, partner = jnp.concatenate([here, count + here]), jnp.concatenate([count + here, here])
    similarity = jnp.concatenate([first, second]) @ others.T / temperature
    is_other = (jnp.arange(2 * count) != mine[:, None]) & jnp.tile(counted, 2)
    logits = jnp.where(is_other, similarity, -jnp.inf)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, partner)
    return losses, jnp.tile(valid, 2)


def _nt_xent(first, second, temperature):
    """The definition, in float64, one pair after another."""
    views = np.concatenate([first, second]).astype(np.float64)
    count, losses = len(first), []
    for i in range(2 * count):
        similarity = [views[i] @ views[k] / temperature for k in range(2 * count)]
        below = sum(np.exp(similarity[k]) for k in range(2 * count) if k != i)
        losses.append(-np.log(np.exp(similarity[(i + count) % (2 * count)]) / below))
    return np.array(losses)


class Encoder(nn.Module):
    """A linear layer and tanh, which has no kink: no device can fall on the other side."""

    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(12)(x.reshape(len(x), -1)))


BATCH, STEPS, SIZE = 16, 8, 6
KEY = jax.random.key(0)


def _images(count):
    generator = np.random.default_rng(0)
    return {"image": generator.integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)}


def _objective(temperature=0.5):
    def prepare(batch, key):
        return {**batch, "image": batch["image"].astype(jnp.float32) / 255 - 0.5}

    config = AugmentationConfig(flip=True, crop=1, erasing=0.5)
    optimizer = OptimizerConfig(optimizer="momentum", learning_rate=0.1, schedule="constant")
    augment = make_augmentation(config)
    return SimCLR(Encoder(), nn.Dense(5), augment, prepare, optimizer, STEPS, temperature)


def _projections(count, seed=0):
    views = np.random.default_rng(seed).normal(size=(2, count, 5)).astype(np.float32)
    return views / np.linalg.norm(views, axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_its_definition(temperature):
    first, second = _projections(9)
    losses, counted = jax.jit(nt_xent)(first, second, temperature)
    np.testing.assert_allclose(losses, _nt_xent(first, second, temperature), rtol=2e-5)
    assert counted.all()


def test_examples_that_are_not_valid_are_no_others():
    first, second = _projections(9)
    losses, counted = nt_xent(first, second, 0.5, jnp.arange(9) < 6)
    expected = _nt_xent(first[:6], second[:6], 0.5)
    np.testing.assert_allclose(losses[counted], expected, rtol=2e-5)


@needs_8
def test_the_loss_under_pmap_compares_all_devices():
    first, second = _projections(16)
    losses, _ = jax.pmap(partial(nt_xent, temperature=0.5), "data")(
        first.reshape(8, 2, 5), second.reshape(8, 2, 5)
    )
    losses = losses.reshape(8, 2, 2).swapaxes(0, 1).reshape(-1)  # device, view, example
    np.testing.assert_allclose(losses, _nt_xent(first, second, 0.5), rtol=2e-5)


@cache
def _trained(devices, parallel):
    objective, mesh = Objective.of(_objective()), make_mesh(f"data={devices}")
    program = TrainProgram(
        objective,
        Resident(_images(50)),
        BATCH,
        STEPS,
        seed=1,
        mesh=mesh,
        parallel=parallel,
    )
    state, window = program.advance(program.create(), program.zeros(), 0, STEPS)
    split = SplitProgram(Resident(_images(21)), 24, program.keys.evaluate, mesh)
    return jax.device_get((state, window, split.sum(objective.evaluate, state)))


@needs_8
@pytest.mark.parametrize("parallel", list(map(slow, ("jit", "pmap"))))
def test_eight_devices_give_what_one_gives(parallel):
    one, eight = _trained(1, "jit"), _trained(8, parallel)
    assert one[0]["step"] == STEPS
    assert one[1]["loss"].count == 2 * BATCH * STEPS
    assert one[2]["loss"].count == 2 * 21
    for a, b in zip(*map(jax.tree.leaves, (one, eight)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_step_descends_the_gradient_of_the_whole_batch():
    """By finite differences of the loss, whose every term has parameters of every example."""
    objective, batch = _objective(), jax.tree.map(jnp.asarray, _images(BATCH))
    spec = jax.tree.map(lambda column: jax.ShapeDtypeStruct(column.shape, column.dtype), batch)
    state = objective.init(KEY, spec, objective.hyperparameters)
    loss = jax.jit(lambda params: objective.loss(0.5, params, {}, batch, KEY)[0])
    after, sums = jax.jit(objective.step)(state, batch, KEY)
    assert sums["loss"].value() == pytest.approx(loss(state["params"]).value(), rel=1e-6)
    moved = jax.tree.map(lambda p, q: (p - q) / 0.1, state["params"], after["params"])
    slope = sum(float(jnp.vdot(g, g)) for g in jax.tree.leaves(moved))

    def loss_along(distance):
        return loss(jax.tree.map(lambda p, g: p + distance * g, state["params"], moved)).value()

    assert (loss_along(2e-3) - loss_along(-2e-3)) / 4e-3 == pytest.approx(slope, rel=1e-2)


def test_views_of_one_image_are_drawn_together():
    objective, batch = _objective(), jax.tree.map(jnp.asarray, _images(BATCH))
    spec = jax.tree.map(lambda column: jax.ShapeDtypeStruct(column.shape, column.dtype), batch)
    state, step = objective.init(KEY, spec, objective.hyperparameters), jax.jit(objective.step)
    losses = []
    for _ in range(60):
        state, sums = step(state, batch, KEY)
        losses.append(objective.summarize(sums)["loss"])
    assert losses[-1] < losses[0] - 0.5
