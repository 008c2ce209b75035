"""Models: shapes, parameters, and what their docstrings claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import create_model
from jaxmodels.models.layers import BatchNorm


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (1, 3, 2)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_for_any_image(name, shape, batch_norm):
    model = create_model(name, classes=7, hidden=(12,), batch_norm=batch_norm)
    x = jnp.ones((2, *shape))
    logits, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), x)
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)


def test_sizes_that_the_docstrings_state():
    def count(model):
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 28, 28, 1)))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    assert count(create_model("cnn", classes=10)) == 824_458
    assert count(create_model("mlp", classes=10)) == 784 * 512 + 512 + 512 * 512 + 512 + 5130


def test_unknown_model():
    with pytest.raises(InputError, match="'cnnn'; did you mean 'cnn'"):
        create_model("cnnn", classes=2)


def test_half_precision_keeps_parameters_and_logits_in_float32():
    model = create_model("cnn", classes=3, batch_norm=True, dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    variables = model.init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    exact = create_model("cnn", classes=3, batch_norm=True).apply(variables, x)
    half = model.apply(variables, x)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, exact, atol=0.05)
    assert (half != exact).any()


NAMES = ("mlp", "cnn", "resnet", "vit")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_head_makes_logits_of_the_features(name, dtype):
    options = {"batch_norm": True} if name in ("mlp", "cnn") else {"variant": "tiny"}
    model = create_model(name, classes=5, dtype=dtype, **options)
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    generator = np.random.default_rng(0)
    # Above zero, as running variances are.
    variables = jax.tree.map(
        lambda leaf: generator.uniform(0.01, 0.1, leaf.shape).astype(np.float32), shapes
    )
    features, logits = jax.jit(
        lambda variables, x: (
            model.apply(variables, x, method="features"),
            model.apply(variables, x),
        )
    )(variables, x)
    params = variables["params"]
    head = params["head" if "head" in params else max(n for n in params if "Dense" in n)]
    assert (features.shape, features.dtype) == ((3, len(head["kernel"])), jnp.float32)
    assert np.std(features, axis=0).max() > 0
    np.testing.assert_allclose(
        features @ head["kernel"] + head["bias"],
        logits,
        rtol=1e-5 if dtype == jnp.float32 else 0.02,
    )


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_equals_flax(train):
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (16, 4, 4, 3))
    ours, theirs = BatchNorm(), nn.BatchNorm(use_running_average=not train, momentum=0.9)
    variables = theirs.init(jax.random.key(0), x)
    a, changed = ours.apply(variables, x, train=train, mutable=["batch_stats"])
    b, expected = theirs.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(a, b, atol=1e-5)
    if train:
        jax.tree.map(lambda m, n: np.testing.assert_allclose(m, n, rtol=1e-5), changed, expected)
