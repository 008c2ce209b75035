"""Latents and what is made of them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmodels.objectives.generation import interpolate_latents, to_uint8


def test_interpolation_keeps_the_norm_and_the_angle():
    one, other = jnp.array([2.0, 0.0, 0.0]), jnp.array([0.0, 2.0, 0.0])
    weights = jnp.linspace(0, 1, 5)[:, None]
    found = interpolate_latents(one, other, weights)
    np.testing.assert_allclose(jnp.linalg.norm(found, axis=-1), 2.0, rtol=1e-5)
    angles = jnp.arctan2(found[:, 1], found[:, 0])
    np.testing.assert_allclose(angles, jnp.linspace(0, jnp.pi / 2, 5), atol=1e-5)
    # From a latent to itself it stays there.
    same = interpolate_latents(one, one, weights)
    assert jnp.all(jnp.isfinite(same))
    np.testing.assert_allclose(same, jnp.tile(one, (5, 1)), atol=1e-2)


def test_bytes():
    images = jnp.array([-1.0, 1.0, 0.0, -2.0, 3.0, 0.5])
    np.testing.assert_array_equal(to_uint8(images), [0, 255, 128, 0, 255, 191])
    assert jax.eval_shape(to_uint8, images).dtype == jnp.uint8
