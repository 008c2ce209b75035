"""A model that is trained in part: what is kept, what learns, and how fast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxmodels.errors import InputError
from jaxmodels.models.layers import BatchNorm
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.depths import depths_below_top
from jaxmodels.objectives.descent import learned_of, with_learned
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.parts import PartsConfig, complete

KEY, RATE = jax.random.key(0), 0.1
SPEC = {"image": jax.ShapeDtypeStruct((8, 6), jnp.float32)}
BATCH = {
    "image": jax.random.normal(jax.random.key(1), (8, 6)),
    "label": jnp.arange(8) % 3,
    "valid": jnp.ones(8, bool),
}


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(5, name="linear")(x)
        return nn.tanh(BatchNorm(name="norm")(x, train=train))


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        for name in ("block_0", "block_1"):
            x = Block(name=name)(x, train)
        return nn.Dense(3, name="head")(x)


def _objective(parts, ema=0.0, **flags):
    options = {"optimizer": "sgd", "schedule": "constant", "learning_rate": RATE} | flags
    config = OptimizerConfig(parts=PartsConfig(**parts), **options)
    config.parts.validate()
    return Classifier(Network(), 3, config, steps=9, ema=ema)


def _start(objective):
    return jax.jit(lambda key: objective.init(key, SPEC, objective.hyperparameters))(KEY)


def _train(objective, state, steps=2):
    step = jax.jit(objective.step)
    for at in range(steps):
        state, sums = step(state, BATCH, jax.random.fold_in(KEY, at))
    return state, sums


def _flat(tree):
    return {path: np.asarray(leaf) for path, leaf in flatten_dict(tree, sep="/").items()}


def _loss(params, stats, kept=()):
    """The loss in training, where the norms of some blocks use their statistics."""
    x = BATCH["image"]
    for name in ("block_0", "block_1"):
        linear, norm = params[name]["linear"], params[name]["norm"]
        x = x @ linear["kernel"] + linear["bias"]
        mean, variance = x.mean(0), x.var(0)
        if name in kept:
            mean, variance = stats[name]["norm"]["mean"], stats[name]["norm"]["var"]
        x = jnp.tanh((x - mean) / jnp.sqrt(variance + 1e-5) * norm["scale"] + norm["bias"])
    found = jax.nn.log_softmax(x @ params["head"]["kernel"] + params["head"]["bias"])
    return -jnp.mean(found[jnp.arange(8), BATCH["label"]])


def test_frozen_parts_stay_to_the_bit_without_moments_and_with_their_statistics():
    objective = _objective({"freeze": "^block_0"}, ema=0.5, optimizer="adam")
    before = _start(objective)
    drawn = jax.tree.map(lambda leaf: leaf + 0.25, before["batch_stats"])
    before = with_learned(before, {**learned_of(before), "batch_stats": drawn})
    after, sums = _train(objective, before, steps=1)
    assert float(sums["loss"].value()) == pytest.approx(
        float(_loss(learned_of(before)["params"], drawn, ["block_0"])), abs=1e-5
    )
    after, _ = _train(objective, after)
    whole = _flat(learned_of(after, "batch_stats"))
    start = _flat(learned_of(before, "batch_stats"))
    for path, leaf in whole.items():
        same = leaf.tobytes() == start[path].tobytes()
        assert same == ("/block_0" in path), path
    # Moments and averages are of what is trained alone.
    trained = {"/".join(p.split("/")[1:]) for p in whole if p.startswith("params/block_1")}
    assert {p for p in _flat(after["params"]) if p.startswith("block_1")} == trained
    for moments in (after["optimizer"][0].mu, after["optimizer"][0].nu, after["ema"]["params"]):
        assert _flat(moments).keys() == _flat(after["params"]).keys()


def test_the_backward_pass_of_frozen_parts_is_not_computed():
    def products(parts):
        objective = _objective(parts)
        lowered = jax.jit(objective.step).lower(_start(objective), BATCH, KEY)
        return lowered.as_text().count("dot_general")

    # The kernels' gradients, 3, and the inputs' of all but the first layer, 2.
    assert products({}) == 3 + 5
    assert products({"freeze": "^block_"}) == 3 + 1


def test_adapters_learn_beside_kernels_that_are_kept():
    parts = {"adapter_rank": 2, "adapter_on": "block_./linear/kernel", "adapter_also": "^head"}
    objective = _objective(parts | {"adapter_scale": 0.5})
    before = _start(objective)
    frozen, trained = before["frozen"], before["params"]
    assert set(_flat(trained)) == {
        *(f"block_{i}/linear/kernel/{factor}" for i in (0, 1) for factor in "AB"),
        "head/kernel",
        "head/bias",
    }
    assert not np.any(trained["block_0"]["linear"]["kernel"]["B"])
    assert np.array_equal(
        learned_of(before)["params"]["block_0"]["linear"]["kernel"],
        frozen["block_0"]["linear"]["kernel"],
    )
    after, _ = _train(objective, before, steps=1)
    # By hand: at B = 0 the gradient of B is scale * A^T G, and that of A is zero. Both norms are
    # kept, so that the batch does not matter to them.
    slope = jax.grad(lambda params: _loss(params, before["batch_stats"], ["block_0", "block_1"]))
    gradient = slope(complete(trained, frozen))["block_1"]["linear"]["kernel"]
    a = trained["block_1"]["linear"]["kernel"]["A"]
    np.testing.assert_allclose(
        after["params"]["block_1"]["linear"]["kernel"]["B"], -RATE * 0.5 * a.T @ gradient, atol=1e-6
    )
    after, _ = _train(objective, after)
    for path, leaf in _flat(after["frozen"]).items():
        assert leaf.tobytes() == _flat(frozen)[path].tobytes(), path
    merged, factors = learned_of(after)["params"], after["params"]["block_0"]["linear"]["kernel"]
    product = np.asarray(factors["A"], np.float64) @ np.asarray(factors["B"], np.float64)
    expected = np.asarray(frozen["block_0"]["linear"]["kernel"], np.float64) + 0.5 * product
    np.testing.assert_allclose(merged["block_0"]["linear"]["kernel"], expected, atol=1e-6)
    # What is merged gives what is not: another run starts from it.
    plain = _objective({})
    whole = with_learned(_start(plain), learned_of(after, "batch_stats"))
    np.testing.assert_allclose(
        plain.predict(whole, BATCH, KEY)["logits"],
        objective.predict(after, BATCH, KEY)["logits"],
        atol=1e-6,
    )


@pytest.mark.parametrize("freeze", ["", "^block_1"])
def test_rates_fall_from_layer_to_layer(freeze):
    objective = _objective({"layer_decay": 0.5, "freeze": freeze})
    before = _start(objective)
    params = learned_of(before)["params"]
    after, _ = _train(objective, before, steps=1)
    gradients = _flat(jax.grad(_loss)(params, before["batch_stats"], ["block_1"] * bool(freeze)))
    found = _flat(learned_of(after)["params"])
    factors = {"block_0": 0.25, "block_1": 0.5, "head": 1}
    for path, leaf in _flat(params).items():
        factor = factors[path.split("/")[0]]
        factor = 0 if freeze and path.startswith("block_1") else factor
        np.testing.assert_allclose(
            found[path], leaf - RATE * factor * gradients[path], atol=2e-6, err_msg=path
        )


def test_layers_are_in_the_order_of_the_model_and_not_of_the_alphabet():
    def leaves(*names):
        return {name: np.zeros((2, 2)) for name in names}

    params = {
        "token_embedding": leaves("embedding"),
        "zeta_0": leaves("kernel", "bias"),
        "alpha_0": leaves("kernel"),
        "BatchNorm_0": {"scale": np.zeros(2)},
        "late_embedding_1": leaves("embedding"),
        "norm": {"scale": np.zeros(2)},
        "a_head": leaves("kernel"),
    }
    depths = {p.split("/")[0]: int(d) for p, d in _flat(depths_below_top(params)).items()}
    assert depths == {
        "token_embedding": 3,
        "zeta_0": 2,
        "alpha_0": 1,
        "BatchNorm_0": 1,
        "late_embedding_1": 3,
        "norm": 0,
        "a_head": 0,
    }


@pytest.mark.parametrize(
    ("parts", "told"),
    {
        "nothing": ({"freeze": "blok_0"}, "did you mean 'block_0'"),
        "everything": ({"freeze": "."}, "keeps all 10 parameters"),
        "no expression": ({"freeze": "("}, "expected a regular expression"),
        "decay": ({"layer_decay": 1.5}, "above 0 and at most 1"),
        "rank": ({"adapter_rank": 6, "adapter_on": "head"}, "rank of at most 3"),
        "no place": ({"adapter_rank": 2}, "--adapter-on"),
        "no rank": ({"adapter_on": "head"}, "expected --adapter-rank"),
        "vectors": ({"adapter_rank": 1, "adapter_on": "bias"}, "finds no kernel"),
        "both": ({"adapter_rank": 1, "adapter_on": "head", "freeze": "head"}, "leave --freeze out"),
        "all": ({"adapter_rank": 1, "adapter_on": "h", "adapter_also": "h"}, "that are kept"),
        "scale": ({"adapter_scale": -1.0}, "above 0"),
    }.values(),
)
def test_wrong_parts_are_one_line(parts, told):
    with pytest.raises(InputError) as error:
        _start(_objective(parts))
    assert told in str(error.value) and "\n" not in str(error.value)
