"""Max pooling against `lax.reduce_window`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxmodels.ops import downsample_bilinear, max_pool, upsample_bilinear
from tests.ops.compiling import quick_jit


def _reference(x, window):
    shape = (1, window, window, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, shape, shape, "VALID")


def _distinct(shape, seed=0):
    """Every value once: no window has a tie."""
    return jnp.asarray(np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape) / 7)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.tuples(*[st.integers(1, high) for high in (3, 9, 9, 4)]),
    st.integers(1, 4),
)
@example((2, 7, 5, 3), 2)  # a remainder at both edges
@example((1, 4, 4, 1), 4)
@example((1, 3, 6, 2), 3)
def test_values_and_gradients_equal_reduce_window(shape, window):
    assume(window <= min(shape[1:3]))

    def everything(pool, x, weights):
        return (
            pool(x, window),
            jax.grad(lambda x: jnp.vdot(weights, pool(x, window)))(x),
            jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, window))))(x),
        )

    @quick_jit
    def both(x):
        weights = jnp.cos(_reference(x, window))
        return everything(max_pool, x, weights), everything(_reference, x, weights)

    ours, reference = both(_distinct(shape))
    jax.tree.map(np.testing.assert_array_equal, ours[:2], reference[:2])
    np.testing.assert_allclose(ours[2], reference[2], rtol=1e-12)


@pytest.mark.usefixtures("float64")
def test_second_derivatives_and_vmap():
    x = _distinct((2, 4, 6, 3))

    def gradient(pool):
        return jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, 2))))

    @quick_jit
    def derivatives(x):
        # reduce_window has no forward mode: reverse over reverse, against both orders of ours.
        expected = jax.grad(lambda x: jnp.vdot(gradient(_reference)(x), jnp.cos(x)))(x)
        reverse = jax.grad(lambda x: jnp.vdot(gradient(max_pool)(x), jnp.cos(x)))(x)
        _, forward = jax.jvp(gradient(max_pool), (x,), (jnp.cos(x),))
        along = -jnp.sin(x) * gradient(max_pool)(x)  # what differentiating cos(x) added above
        return expected, reverse, forward + along

    expected, reverse, forward = derivatives(x)
    np.testing.assert_allclose(reverse, expected, atol=1e-12)
    np.testing.assert_allclose(forward, expected, atol=1e-12)

    @quick_jit
    def together_and_alone(x):
        images = (x, -x, x[::-1])
        together = jax.vmap(max_pool, in_axes=2)(jnp.stack(images, axis=2))
        return together, jnp.stack([max_pool(image) for image in images])

    np.testing.assert_array_equal(*together_and_alone(x))


def test_ties_share_the_gradient():
    x = jnp.zeros((1, 2, 2, 1)).at[0, 0, 0, 0].set(-1)
    gradient = quick_jit(jax.grad(lambda x: max_pool(x).sum()))(x)
    np.testing.assert_allclose(gradient[0, :, :, 0], [[0, 1 / 3], [1 / 3, 1 / 3]], rtol=1e-6)


def test_a_dropped_remainder_has_no_gradient():
    gradient = quick_jit(jax.grad(lambda x: max_pool(x).sum()))(_distinct((1, 5, 3, 1)))
    assert not gradient[:, 4:].any()
    assert not gradient[:, :, 2:].any()
    assert gradient.sum() == 2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding"),
    [
        ((2, 8, 8, 3), 3, 2, 1),  # the stem of a ResNet
        ((1, 7, 9, 2), 3, 2, 1),
        ((1, 1, 2, 2), 3, 2, 1),
        ((2, 6, 5, 1), 3, 1, 0),
        ((1, 9, 8, 2), 2, 3, 0),
        ((1, 5, 6, 2), 4, 2, 3),
        ((1, 5, 4, 2), 2, None, 1),
    ],
)
def test_strides_and_padding_equal_reduce_window(shape, window, strides, padding):
    step = strides or window

    def reference(x):
        edges = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        sizes = ((1, window, window, 1), (1, step, step, 1))
        return lax.reduce_window(x, -jnp.inf, lax.max, *sizes, edges)

    def ours(x):
        return max_pool(x, window, strides, padding)

    def everything(pool, x):
        def gradient(x):
            return jax.grad(lambda x: jnp.sum(jnp.sin(pool(x))))(x)

        second = jax.grad(lambda x: jnp.vdot(gradient(x), jnp.cos(x)))(x)
        return pool(x), gradient(x), second

    x = -5 - _distinct(shape)  # below zero, so that padding with zeros would win
    actual, expected = quick_jit(lambda x: [everything(pool, x) for pool in (ours, reference)])(x)
    np.testing.assert_array_equal(actual[0], expected[0])
    for a, b in zip(actual[1:], expected[1:]):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_ties_of_overlapping_windows_share_the_whole_gradient():
    gradient = quick_jit(jax.grad(lambda x: max_pool(x, 3, 2, 1).sum()))(jnp.zeros((1, 5, 5, 1)))
    np.testing.assert_allclose(gradient.sum(), 9, rtol=1e-6)
    assert (gradient > 0).all()


def test_padding_alone_is_no_window():
    with pytest.raises(ValueError, match="padding 2; expected less than the window, 2"):
        max_pool(jnp.zeros((1, 4, 4, 1)), 2, padding=2)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (1, 2, 8, 1), (1, 2, 2, 2)])
@pytest.mark.parametrize("resize, factor", [(upsample_bilinear, 2), (downsample_bilinear, 0.5)])
def test_bilinear_resizing_equals_jax_image(resize, factor, shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    size = (shape[0], int(factor * shape[1]), int(factor * shape[2]), shape[3])

    def reference(x):
        return jax.image.resize(x, size, "bilinear")

    def everything(function, x):
        return function(x), jax.grad(lambda x: jnp.sum(jnp.sin(function(x))))(x)

    both = quick_jit(lambda x: [everything(function, x) for function in (resize, reference)])(x)
    for actual, expected in zip(*both, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)
