"""muP: factors by table 8, and the coordinate check over widths."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.errors import InputError
from jaxmodels.objectives import mup
from jaxmodels.objectives.descent import descend, initial_state
from jaxmodels.objectives.optimizers import OptimizerConfig
from tests.marks import slow

BASE = 64
HEAD_SIZE = 32
WORDS = 32
WIDTHS = (64, 128, 256, 512, 1024)


class Block(nn.Module):
    """A transformer's block with heads of one size."""

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        y = nn.LayerNorm()(x)
        query, key, value = (
            nn.Dense(width, name=name)(y).reshape(*y.shape[:2], -1, HEAD_SIZE)
            for name in ("query", "key", "value")
        )
        y = jax.nn.dot_product_attention(query, key, value, is_causal=True).reshape(x.shape)
        x = x + nn.Dense(width, name="out")(y)
        y = nn.gelu(nn.Dense(4 * width, name="wide")(nn.LayerNorm()(x)))
        return x + nn.Dense(width, name="narrow")(y)


class Hidden(nn.Module):
    """A block of an MLP."""

    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(x.shape[-1])(nn.relu(nn.Dense(2 * x.shape[-1])(x)))


class Model(nn.Module):
    """A language model, as it comes: flax's initialisers."""

    width: int
    block: type[nn.Module] = Block

    @nn.compact
    def __call__(self, tokens):
        x = self.block(name="block")(nn.Embed(WORDS, self.width)(tokens))
        return nn.Dense(WORDS, name="head")(nn.LayerNorm(name="norm")(x))


TOKENS = jax.random.randint(jax.random.key(0), (4, 13), 0, WORDS)


def _params(width, seed=1, block=Block):
    return jax.jit(Model(width, block).init)(jax.random.key(seed), TOKENS)["params"]


def _shapes(width, block=Block):
    return jax.eval_shape(partial(_params, width, block=block))


def _changes(width, block, optimizer, rate, parametrised, steps=4):
    """By how much some steps change each activation: root mean squares."""
    config = OptimizerConfig(
        optimizer=optimizer, learning_rate=rate, schedule="constant", muon_precision="float32"
    )
    params, updates, output = _params(width, block=block), None, 1.0
    if parametrised:
        factors = mup.multipliers(optimizer, _shapes(BASE, block), _shapes(width, block))
        params = mup.initial_values(params, _params(BASE, 2, block), factors.deviations)
        updates, output = factors.updates, factors.output

    def forward(params):
        logits, captured = Model(width, block).apply(
            {"params": params},
            TOKENS[:, :-1],
            capture_intermediates=lambda module, _: module.name in ("block", "norm"),
            mutable=["intermediates"],
        )
        captured = captured["intermediates"]
        outputs = {name: captured[name]["__call__"][0] for name in ("block", "norm")}
        return outputs | {"logits": output * logits}

    def loss(params):
        likelihoods = nn.log_softmax(forward(params)["logits"])
        return -jnp.take_along_axis(likelihoods, TOKENS[:, 1:, None], -1).mean()

    @jax.jit
    def train(state):
        def step(_, state):
            return descend(config, steps, state, jax.grad(loss)(state["params"]), updates)

        after = jax.lax.fori_loop(0, steps, step, state)
        first, last = forward(state["params"]), forward(after["params"])
        moved = jax.tree.map(jnp.subtract, last, first)
        return jax.tree.map(lambda x: jnp.sqrt(jnp.mean(jnp.square(x))), moved)

    return train(initial_state(config, {"params": params}, config.hyperparameters()))


def _exponents(widths, *given):
    """The powers of the width with which the changes of activations grow, by least squares."""
    changes = [_changes(width, *given) for width in widths]
    return {
        name: float(np.polyfit(np.log(widths), np.log([float(c[name]) for c in changes]), 1)[0])
        for name in changes[0]
    }


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "block", "optimizer", "rate", "least"),
    [
        ((64, 256), Hidden, "adamw", 0.03, 0.8),
        slow(WIDTHS, Block, "adamw", 0.003, 0.5),
        slow(WIDTHS, Block, "muon_jordan", 0.02, 0.15),
    ],
)
def test_activations_change_alike_at_every_width_as_they_do_not_without(
    widths, block, optimizer, rate, least
):
    """The coordinate check. Logits start out smaller at larger widths, so their exponent is a
    little below zero."""
    standard, ours = (_exponents(widths, block, optimizer, rate, way) for way in (False, True))
    assert standard["block"] > least and standard["logits"] > 0.3
    assert abs(ours["block"]) < 0.1 and abs(ours["norm"]) < 0.1
    assert -0.25 < ours["logits"] < 0.05


def test_factors_are_those_of_table_8():
    ours = mup.multipliers("adamw", _shapes(64), _shapes(256))
    assert ours.output == 1 / 4
    block = ours.updates["block"]
    assert block["query"] == {"kernel": 1 / 4, "bias": 1.0}
    assert block["wide"] == block["narrow"] == {"kernel": 1 / 4, "bias": 1.0}
    assert ours.updates["head"] == {"kernel": 1.0, "bias": 1.0}
    assert ours.updates["Embed_0"] == {"embedding": 1.0}
    assert ours.updates["norm"] == {"scale": 1.0, "bias": 1.0}
    block = ours.deviations["block"]
    assert block["narrow"] == {"kernel": 1 / 2, "bias": 1.0}
    assert ours.deviations["head"] == {"kernel": 1.0, "bias": 1.0}


def test_muon_has_its_own_factors_where_a_matrix_changes_its_form():
    """The spectral norm of an update has to grow as sqrt(outputs / inputs)."""

    def shapes(width):
        shape = jax.ShapeDtypeStruct
        return {
            "embedded": {"kernel": shape((5, width), jnp.float32)},
            "narrowing": {"kernel": shape((width * width, width), jnp.float32)},
            "square": {"kernel": shape((width, width), jnp.float32)},
            "words": {"embedding": shape((9, width), jnp.float32)},
        }

    factors = mup.multipliers("muon_jordan", shapes(4), shapes(64))
    # From sqrt(4 / 5) to sqrt(64 / 5), of which Muon does from 1 to sqrt(64 / 5).
    expected = {"embedded": (4 / (64 / 5) ** 0.5), "narrowing": 1 / 4, "square": 1.0}
    found = {name: factors.updates[name]["kernel"] for name in expected}
    assert found == pytest.approx(expected)
    assert factors.updates["words"]["embedding"] == 1 and factors.output == 1 / 16  # tied


def test_nothing_changes_at_the_base_width():
    factors = mup.multipliers("adamw", _shapes(64), _shapes(64))
    assert {*jax.tree.leaves(factors.updates), *jax.tree.leaves(factors.deviations)} == {1.0}
    assert factors.output == 1
    params = _params(64)
    same = mup.initial_values(params, _params(64, 2), factors.deviations)
    jax.tree.map(np.testing.assert_array_equal, params, same)


def test_initial_values_have_the_deviations_that_the_base_implies():
    """For initialisers that scale by their inputs, by their outputs or not at all."""
    normal, base = jax.random.normal(jax.random.key(3), (256, 256)), (64, 64)
    params = {
        "scaled": normal / 16,
        "constant": normal,
        "zeros": jnp.zeros((256, 256)),
        "gains": jnp.ones(256),
        "embedding": jnp.full((9, 256), 1 / 16),
    }
    small = {
        "scaled": normal[:64, :64] / 8,
        "constant": normal[:64, :64],
        "zeros": jnp.zeros(base),
        "gains": jnp.ones(64),
        "embedding": jnp.full((9, 64), 1 / 8),
    }
    factors = mup.multipliers("adam", small, params)
    values = mup.initial_values(params, small, factors.deviations)
    assert jnp.std(values["scaled"]) == pytest.approx(1 / 16, rel=0.03)
    assert jnp.std(values["constant"]) == pytest.approx(1 / 2, rel=0.03)
    assert not values["zeros"].any()
    np.testing.assert_array_equal(values["gains"], 1)
    np.testing.assert_allclose(values["embedding"], 1 / 8, rtol=1e-6)


def _one(shape, name="head"):
    return {name: {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)}}


@pytest.mark.parametrize(
    ("optimizer", "base", "here", "message"),
    [
        ("sgd", _one((4, 2)), _one((8, 2)), "optimizer = sgd with muP; expected one of adam"),
        ("adam", _one((4, 2)), _one((8, 2), "other"), "there at one width only"),
        ("adam", _one((4, 2)), _one((8, 2, 1)), r"head/kernel has shapes \(4, 2\) and \(8"),
        ("muon_jordan", _one((4, 2), "last"), _one((8, 2), "last"), "last/kernel maps the width"),
        (
            "adam",
            _one((4, 2), "a") | _one((4, 2), "b"),
            _one((8, 2), "a") | _one((12, 2), "b"),
            "a/kernel 2, b/kernel 3; expected one width",
        ),
    ],
)
def test_models_that_differ_otherwise_are_refused(optimizer, base, here, message):
    with pytest.raises(InputError, match=message):
        mup.multipliers(optimizer, base, here)
