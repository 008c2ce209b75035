"""Derivatives of gradients that a fast function lacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops import with_second_derivatives


def opaque(x):
    """What a kernel is to jax: a call without a derivative."""
    return jax.pure_callback(np.asarray, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@jax.custom_vjp
def fast(x, y):
    return opaque(jnp.sin(x) * y)


def fast_gradient(kept, g):
    x, y = kept
    return opaque(g * jnp.cos(x) * y), opaque(g * jnp.sin(x))


fast.defvjp(lambda x, y: (opaque(jnp.sin(x) * y), (x, y)), fast_gradient)


def plain(x, y):
    return jnp.sin(x) * y


X, Y = jnp.linspace(-1.0, 1.0, 3), jnp.linspace(0.5, 2.0, 3)


def loss(function):
    return lambda x, y: jnp.sum(function(x, y) ** 2)


def test_value_and_gradient_are_those_of_the_fast_function():
    doubled = with_second_derivatives(fast, lambda x, y: 2 * plain(x, y))
    np.testing.assert_allclose(doubled(X, Y), plain(X, Y), rtol=1e-6)
    for argument in (0, 1):
        got = jax.grad(loss(doubled), argument)(X, Y)
        np.testing.assert_allclose(got, jax.grad(loss(plain), argument)(X, Y), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("outer", [jax.jacrev, jax.jacfwd])
def test_second_derivatives_are_those_of_the_plain_function(outer):
    with pytest.raises(ValueError, match="callback"):
        outer(jax.grad(loss(fast), (0, 1)), (0, 1))(X, Y)
    got = outer(jax.grad(loss(with_second_derivatives(fast, plain)), (0, 1)), (0, 1))(X, Y)
    expected = outer(jax.grad(loss(plain), (0, 1)), (0, 1))(X, Y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)
