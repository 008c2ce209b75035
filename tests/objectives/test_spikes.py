"""Metrics of a step: norms, the largest logit and activations, without another pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.objectives.descent import descend, descend_measured, initial_state
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.spikes import SCORES, activation_norms, largest, modules
from jaxmodels.protocol import mean_over

CONFIG = OptimizerConfig(optimizer="adamw", learning_rate=0.1, clip=0.5, weight_decay=0.1)


class Block(nn.Module):
    """x + Dense(x), with a sown value."""

    @nn.compact
    def __call__(self, x):
        self.sow("intermediates", "inside", x * 2)
        return x + nn.Dense(x.shape[-1], name="inner")(x)


class Model(nn.Module):
    """Two blocks and a head; the second block is called twice."""

    @nn.compact
    def __call__(self, x):
        second = Block(name="block_1")
        return nn.Dense(3, name="head")(second(second(Block(name="block_0")(x))))


X = jax.random.normal(jax.random.key(0), (4, 6, 5))


def _loss(params, carried, batch, key):
    logits, captured = Model().apply(
        {"params": params},
        batch["x"],
        capture_intermediates=modules("block_", "head"),
        mutable=["intermediates"],
    )
    sums = {"largest_logit": largest(logits), **activation_norms(captured["intermediates"])}
    return mean_over(jnp.square(logits).mean((1, 2))), carried, sums


def test_norms_of_gradients_and_updates_come_with_the_update():
    params = Model().init(jax.random.key(1), X)["params"]
    state = initial_state(CONFIG, {"params": params}, CONFIG.hyperparameters())
    gradients, _, _ = gradients_of(_loss, params, {}, {"x": X}, jax.random.key(2))
    after, norms = descend_measured(CONFIG, 10, state, gradients)
    plain = descend(CONFIG, 10, state, gradients)
    jax.tree.map(np.testing.assert_array_equal, after, plain)

    def norm(tree):
        return np.sqrt(sum(np.sum(np.square(leaf, dtype=float)) for leaf in jax.tree.leaves(tree)))

    moved = jax.tree.map(jnp.subtract, after["params"], params)
    assert set(norms) < set(SCORES)
    assert norms["gradient_norm"].value() == pytest.approx(norm(gradients), rel=1e-5)
    assert norms["update_norm"].value() == pytest.approx(norm(moved), rel=1e-4)


@pytest.mark.parametrize("parts", [1, 2])
def test_activations_are_captured_in_the_pass_of_the_loss(parts):
    params = Model().init(jax.random.key(1), X)["params"]
    _, _, sums = gradients_of(_loss, params, {}, {"x": X}, jax.random.key(2), parts)

    def rms(x):
        return np.sqrt(np.mean(np.square(np.asarray(x, float)), -1)).mean()

    def block(x, name):
        inner = params[name]["inner"]
        return x + x @ inner["kernel"] + inner["bias"]

    first = block(X, "block_0")
    second = block(first, "block_1")
    third = block(second, "block_1")
    logits = third @ params["head"]["kernel"] + params["head"]["bias"]
    expected = {
        "norm/block_0": rms(first),
        "norm/block_0/inside": rms(2 * X),
        "norm/block_1": rms(second),
        "norm/block_1/1": rms(third),
        "norm/block_1/inside": rms(2 * first),
        "norm/block_1/inside/1": rms(2 * second),
        "norm/head": rms(logits),
    }
    largest_logit = np.abs(logits.reshape(2, 2, -1)).max((0, 2) if parts == 2 else None)
    expected["largest_logit"] = np.mean(largest_logit)
    assert {name: mean.value() for name, mean in sums.items()} == pytest.approx(expected, rel=1e-5)
