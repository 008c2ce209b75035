"""Gradients of losses whose examples weigh differently: parts, meshes and pmap give the whole."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from jaxmodels.data import Resident
from jaxmodels.errors import InputError
from jaxmodels.objectives.descent import descend, initial_state
from jaxmodels.objectives.gradients import (
    accumulate_gradients,
    differentiate,
    gradients_of,
    split_batch,
)
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.ops import softmax_cross_entropy
from jaxmodels.protocol import Mean, mean_over
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram

BATCH, LENGTH, WIDTH, TAGS, STEPS = 32, 7, 3, 4, 5
KEY = jax.random.key(0)
needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")
SGD = OptimizerConfig(optimizer="momentum", learning_rate=0.5, schedule="constant")


def _sentences(count=BATCH, seed=0):
    """Sentences of lengths from none to all tokens. What is padding poisons what it touches."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, LENGTH + 1, count)
    lengths[[1, count - 1]] = 0, LENGTH
    # The first eighth, which one device may hold, counts nothing at all.
    lengths[: count // 8] = 0
    mask = np.arange(LENGTH) < lengths[:, None]
    tokens = generator.normal(size=(count, LENGTH, WIDTH)).astype(np.float32)
    tags = generator.integers(0, TAGS, (count, LENGTH)).astype(np.int32)
    return {"tokens": tokens, "tag": np.where(mask, tags, -1).astype(np.int32), "mask": mask}


def _batch(seed=0):
    return jax.tree.map(jnp.asarray, _sentences(seed=seed))


def _batch_of_nothing():
    return {**_batch(), "mask": jnp.zeros((BATCH, LENGTH), bool)}


@dataclass(frozen=True)
class Tagger:
    """Classifies each token of a sentence, from it and the mean of the sentence's tokens."""

    accumulate: int = 1

    hyperparameters: ClassVar = SGD.hyperparameters()

    def init(self, key, spec, hyperparameters):
        kernel = 0.1 * jax.random.normal(key, (2 * WIDTH, TAGS))
        params = {"kernel": kernel, "bias": jnp.zeros(TAGS)}
        return initial_state(SGD, {"params": params}, hyperparameters)

    @staticmethod
    def losses(params, batch) -> Float[Array, "batch length"]:
        mask = batch["mask"][..., None]
        count = jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
        mean = jnp.sum(jnp.where(mask, batch["tokens"], 0), axis=1, keepdims=True) / count
        inputs = [batch["tokens"], jnp.broadcast_to(mean, batch["tokens"].shape)]
        logits = jnp.concatenate(inputs, axis=-1) @ params["kernel"] + params["bias"]
        return softmax_cross_entropy(logits, jnp.maximum(batch["tag"], 0))

    def loss(self, params, carried, batch, key):
        losses, mask = self.losses(params, batch).reshape(-1), batch["mask"].reshape(-1)
        loss = mean_over(losses, mask)
        return loss, carried, {"loss": loss}

    def step(self, state, batch, key):
        gradients, _, sums = gradients_of(
            self.loss, state["params"], {}, batch, key, self.accumulate
        )
        return descend(SGD, STEPS, state, gradients), sums


def _params(seed=0):
    kernel = np.random.default_rng(seed).normal(size=(2 * WIDTH, TAGS)).astype(np.float32)
    return {"kernel": jnp.asarray(kernel), "bias": jnp.arange(TAGS, dtype=jnp.float32)}


def _expected(params, batch):
    """The gradient of the plain mean over the tokens that count, in one piece."""

    def mean(params):
        return jnp.sum(Tagger.losses(params, batch) * batch["mask"]) / jnp.sum(batch["mask"])

    return jax.grad(mean)(params)


def _close(ours, expected):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, expected
    )


@pytest.mark.parametrize("parts", [1, 2, 4, BATCH])
def test_parts_of_ragged_sentences_give_the_gradient_of_the_whole(parts):
    batch, params = _batch(), _params()
    gradients, _, sums = jax.jit(
        lambda params: gradients_of(Tagger().loss, params, {}, batch, KEY, parts)
    )(params)
    _close(gradients, _expected(params, batch))
    assert sums["loss"].count == batch["mask"].sum()
    # The mean of the means of parts is another gradient: the sentences do weigh differently.
    means = [_expected(params, {n: c[part::4] for n, c in batch.items()}) for part in range(4)]
    wrong = np.mean([mean["bias"] for mean in means], axis=0)
    assert np.abs(wrong - _expected(params, batch)["bias"]).max() > 1e-3


@pytest.mark.parametrize("parts", [1, 4])
def test_both_ways_to_the_gradient_agree(parts):
    batch, params = _batch(), _params()
    loss = Tagger().loss
    _close(
        gradients_of(loss, params, {}, batch, KEY, parts),
        accumulate_gradients(differentiate(loss), params, {}, batch, KEY, parts),
    )


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("parallel", ["jit", "pmap"])
@needs_8
def test_a_step_on_eight_devices_is_that_of_one(parts, parallel):
    state, window = _trained(8, parallel, parts)
    whole, sums = _trained(1, "jit", 1)
    _close(state["params"], whole["params"])
    assert int(window["loss"].count) == int(sums["loss"].count)
    assert window["loss"].value() == pytest.approx(sums["loss"].value(), rel=1e-6)


@cache
def _trained(devices, parallel, parts):
    objective = Tagger(accumulate=parts)
    source, mesh = Resident(_sentences(3 * BATCH)), make_mesh(f"data={devices}")
    program = TrainProgram(objective, source, BATCH, STEPS, seed=1, mesh=mesh, parallel=parallel)
    return program.advance(program.create(), program.zeros(), 0, STEPS)


def test_steps_are_descent_on_the_mean_over_the_tokens_that_count():
    objective, params = Tagger(), _params()
    state = initial_state(SGD, {"params": params}, SGD.hyperparameters())
    velocity = jax.tree.map(jnp.zeros_like, params)
    for seed in range(3):
        batch = _batch(seed)
        gradients = _expected(params, batch)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradients)
        params = jax.tree.map(lambda p, v: p - 0.5 * v, params, velocity)
        state, _ = objective.step(state, batch, KEY)
    _close(state["params"], params)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_batch_in_which_nothing_counts_has_a_gradient_of_zero(parts):
    batch = _batch_of_nothing()
    gradients, _, sums = gradients_of(Tagger().loss, _params(), {}, batch, KEY, parts)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))
    assert (sums["loss"].total, sums["loss"].count) == (0, 0)


@needs_8
def test_a_batch_in_which_nothing_counts_is_no_exception_on_eight_devices():
    batch = _batch_of_nothing()
    parts = {name: column.reshape(8, -1, *column.shape[1:]) for name, column in batch.items()}
    gradients = jax.pmap(
        lambda batch: gradients_of(Tagger().loss, _params(), {}, batch, KEY)[0], "data"
    )(parts)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradients))


def test_what_the_loss_carries_passes_through_every_part_and_metrics_add():
    batch = {"x": jnp.arange(6.0)}

    def loss(params, carried, batch, key):
        mean = Mean(params * jnp.sum(batch["x"]), jnp.int32(len(batch["x"])))
        return mean, 10 * carried + batch["x"][0], {"largest": jnp.max(batch["x"])}

    gradient, carried, metrics = gradients_of(
        loss, jnp.float32(1), jnp.float32(9), batch, KEY, parts=3
    )
    assert (gradient, carried, metrics["largest"]) == (2.5, 9012, 3 + 4 + 5)


def test_noise_differs_between_parts():
    def loss(params, carried, batch, key):
        noise = jax.random.uniform(key)
        return Mean(params, jnp.int32(1)), carried, {"noise": noise, "square": noise**2}

    sums = gradients_of(loss, jnp.float32(1), {}, {"x": jnp.zeros(4)}, KEY, parts=2)[2]
    assert sums["square"] / 2 - (sums["noise"] / 2) ** 2 > 1e-3


def test_parts_take_examples_in_turn():
    split = split_batch({"x": jnp.arange(12).reshape(6, 2)}, 3)["x"]
    np.testing.assert_array_equal(split[1], [[2, 3], [8, 9]])
    with pytest.raises(InputError, match="6 examples in 4 parts; expected a multiple of 4, as 4"):
        split_batch({"x": jnp.zeros(6)}, 4)
