"""Metrics of a step: norms, the largest logit and activations, without another pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.objectives.descent import descend, descend_measured, initial_state
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.spikes import SCORES, activation_norms, largest
from jaxmodels.protocol import mean_over

CONFIG = OptimizerConfig(optimizer="adamw", learning_rate=0.1, clip=0.5, weight_decay=0.1)


class Model(nn.Module):
    """Two layers and a head, with the norms of the layers sown."""

    @nn.compact
    def __call__(self, x):
        norms = []
        for index in range(2):
            x = x + nn.Dense(x.shape[-1], name=f"block_{index}")(x)
            norms.append(jnp.sqrt(jnp.mean(jnp.square(x))))
        self.sow("intermediates", "activation_norm", jnp.stack(norms))
        return nn.Dense(3, name="head")(x)


X = jax.random.normal(jax.random.key(0), (4, 6, 5))


def _loss(params, carried, batch, key):
    logits, sown = Model().apply({"params": params}, batch["x"], mutable=["intermediates"])
    norms = activation_norms(sown["intermediates"]["activation_norm"])
    sums = {"largest_logit": largest(logits), **norms}
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
def test_activations_are_measured_in_the_pass_of_the_loss(parts):
    params = Model().init(jax.random.key(1), X)["params"]
    _, _, sums = gradients_of(_loss, params, {}, {"x": X}, jax.random.key(2), parts)

    def dense(x, name):
        return x @ params[name]["kernel"] + params[name]["bias"]

    def norm(x):  # of the parts, which are the examples 0, 2 and 1, 3
        squares = np.square(np.asarray(x, float)).reshape(4 // parts, parts, -1)
        return np.sqrt(squares.mean((0, 2))).mean()

    first = X + dense(X, "block_0")
    second = first + dense(first, "block_1")
    logits = np.abs(dense(second, "head")).reshape(4 // parts, parts, -1)
    expected = {
        "norm/block_0": norm(first),
        "norm/block_1": norm(second),
        "largest_logit": logits.max((0, 2)).mean(),
    }
    assert {name: mean.value() for name, mean in sums.items()} == pytest.approx(expected, rel=1e-5)
