"""Spectral normalisation, conditional BatchNorm, and parity with flax."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.models import layers
from jaxmodels.models.layers import BatchNorm, Conv, Dense, SpectralNorm


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(7, 5), (3, 3, 4, 6)])
def test_power_iteration_finds_the_largest_singular_value(shape):
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    largest = np.linalg.svd(kernel.reshape(-1, shape[-1]), compute_uv=False)[0]
    layer = SpectralNorm()
    variables = layer.init(jax.random.key(0), kernel)
    for _ in range(200):
        normalized, variables = layer.apply(variables, kernel, mutable=["spectral"])
    np.testing.assert_allclose(normalized, kernel / largest, rtol=1e-9)
    # Not mutable: the same value, and nothing changes.
    np.testing.assert_allclose(layer.apply(variables, kernel), kernel / largest, rtol=1e-9)

    # The gradient is that of kernel / |kernel|: it has no part along the kernel itself.
    def total(kernel):
        return jnp.sum(jnp.sin(layer.apply(variables, kernel)))

    reference = jax.grad(
        lambda k: jnp.sum(jnp.sin(k / jnp.linalg.norm(k.reshape(-1, shape[-1]), 2)))
    )(kernel)
    np.testing.assert_allclose(jax.grad(total)(kernel), reference, atol=1e-9)


def test_one_iteration_a_call_and_none_that_is_kept_otherwise():
    layer = Dense(5, spectral=True)
    x = jnp.ones((2, 3))
    variables = layer.init(jax.random.key(0), x)
    first = variables["spectral"]
    _, changed = layer.apply(variables, x, mutable=["spectral"])
    _, again = layer.apply({**variables, **changed}, x, mutable=["spectral"])
    us = [jax.tree.leaves(collection)[0] for collection in (first, changed, again)]
    assert not np.allclose(us[0], us[1])
    kernel = variables["params"]["kernel"]
    expected = (us[0] @ kernel.T) @ kernel
    np.testing.assert_allclose(us[1], expected / np.linalg.norm(expected), rtol=1e-5)
    assert not np.array_equal(us[1], us[2])


def test_dense_is_flax_dense():
    x = jax.random.normal(jax.random.key(1), (4, 3))
    ours, theirs = Dense(6), nn.Dense(6)
    variables = theirs.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, ours.init(jax.random.key(0), x))
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), rtol=1e-6)


CONVOLUTIONS = [
    {},
    {"strides": (2, 1), "padding": "VALID", "kernel_dilation": 2},
    {"padding": ((1, 2), 0), "use_bias": False},
    {"padding": 2, "strides": None, "kernel_dilation": None},
    {"bias_init": nn.initializers.normal(), "dtype": jnp.bfloat16},
]
OF_ONE_KIND = {
    "Conv": [
        {"feature_group_count": 3},
        {"padding": "CIRCULAR", "kernel_dilation": (2, 1)},
        {"padding": "REFLECT"},
        {"kernel_size": (4,), "padding": "CAUSAL", "kernel_dilation": 2},
        {"kernel_size": 3, "strides": 2},
    ],
    "ConvTranspose": [
        {"strides": (2, 3)},
        {"strides": (2, 2), "transpose_kernel": True},
        {"kernel_size": 4, "strides": (2,)},
    ],
}


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, own in OF_ONE_KIND.items() for options in CONVOLUTIONS + own],
)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_convolutions_are_flax_convolutions(name, options, batch):
    options = {"features": 9, "kernel_size": (3, 2)} | options
    axes = len(np.atleast_1d(options["kernel_size"]))
    x = jax.random.normal(jax.random.key(1), (*batch, *(5, 6)[:axes], 6))
    ours, theirs = (getattr(module, name)(**options) for module in (layers, nn))
    variables = theirs.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, ours.init(jax.random.key(0), x))
    y, expected = ours.apply(variables, x), theirs.apply(variables, x)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(
        y.astype(jnp.float32),
        expected.astype(jnp.float32),
        atol=1e-5 if y.dtype == x.dtype else 0.05,
    )


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
def test_fields_in_flax_order(name):
    """So that positional arguments mean the same."""
    ours, theirs = (
        [field.name for field in dataclasses.fields(getattr(module, name))]
        for module in (layers, nn)
    )
    shared = [field for field in ours if field in theirs]
    assert shared == [field for field in theirs if field in ours]
    lacking = [field for field in theirs if field not in ours]
    assert ours[:4] == theirs[:4] and set(lacking) == LACKING[name]


SAID_TO_LACK = {"mask", "promote_dtype"}
LACKING = {
    "Conv": {*SAID_TO_LACK, "input_dilation", "conv_general_dilated", "conv_general_dilated_cls"},
    "ConvTranspose": {*SAID_TO_LACK, "preferred_element_type"},
}


def test_causal_padding_has_one_axis():
    with pytest.raises(ValueError, match="CAUSAL"):
        Conv(3, padding="CAUSAL").init(jax.random.key(0), jnp.ones((1, 4, 4, 2)))


def test_conditional_batch_norm_scales_by_class():
    x = jax.random.normal(jax.random.key(1), (6, 3, 3, 4))
    labels = jnp.array([0, 1, 2, 2, 1, 0])
    layer = BatchNorm(classes=3)
    variables = layer.init(jax.random.key(0), x, labels, train=False)
    table = jax.random.normal(jax.random.key(2), (2, 3, 4))
    params = {"scale": table[0], "bias": table[1]}
    y, _ = layer.apply(
        {**variables, "params": params}, x, labels, train=True, mutable=["batch_stats"]
    )
    plain, _ = BatchNorm().apply(
        {**variables, "params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}},
        x,
        train=True,
        mutable=["batch_stats"],
    )
    expected = plain * table[0][labels][:, None, None] + table[1][labels][:, None, None]
    np.testing.assert_allclose(y, expected, atol=1e-5)
