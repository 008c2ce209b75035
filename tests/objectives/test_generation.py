"""Latents and what is made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.objectives import generation
from jaxmodels.objectives.generation import in_chunks, interpolate_latents, to_uint8
from jaxmodels.protocol import example_keys


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


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 4, 7, 9])
def test_chunks_of_keys_give_what_the_whole_gives(count, monkeypatch):
    """Trees with keys and with parts that are absent; the last chunk is filled up and cut."""
    monkeypatch.setattr(generation, "CHUNK", 3)
    sizes = []

    def draw(columns):
        keys, numbers, labels = columns
        assert labels is None
        sizes.append(len(keys))
        noise = jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)
        return {"noise": noise, "sum": noise[:, 0] + numbers["some"]}

    columns = (
        example_keys(jax.random.key(0), jnp.arange(count)),
        {"some": jnp.arange(count)},
        None,
    )
    found = in_chunks(draw, columns)
    assert set(sizes) == {min(count, 3)}
    expected = draw(columns)
    assert found["noise"].shape == (count, 2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
