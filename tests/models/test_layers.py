"""Spectral normalisation and conditional BatchNorm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.layers import BatchNorm, Dense, SpectralNorm


@pytest.mark.slow
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


@pytest.mark.slow
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
