"""DiffAugment: what each augmentation does to a picture, and that it can be differentiated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops import AUGMENTATIONS, diff_augment
from tests.ops.compiling import quick_jit

IMAGES = jax.random.uniform(jax.random.key(0), (64, 16, 12, 3), minval=0.1)
KEYS = jax.random.split(jax.random.key(1), 64)
augment = quick_jit(diff_augment, static_argnums=2)


def test_translations_are_shifts_of_up_to_an_eighth():
    shifted = np.asarray(augment(IMAGES, KEYS, ("translation",)))
    found = set()
    for image, moved in zip(np.asarray(IMAGES), shifted, strict=True):
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                expected = np.zeros_like(image)
                h, w = image.shape[:2]
                expected[max(-down, 0) : h - max(down, 0), max(-right, 0) : w - max(right, 0)] = (
                    image[max(down, 0) : h + min(down, 0), max(right, 0) : w + min(right, 0)]
                )
                if np.allclose(expected, moved, atol=1e-6):
                    matches.append((down, right))
        assert len(matches) == 1
        found.update(matches)
    assert len(found) > 15  # of 25
    assert (0, 2) in found or (1, 2) in found or (2, 2) in found


def test_cutout_is_a_grey_rectangle_of_half_the_sides():
    cut = np.asarray(augment(IMAGES, KEYS, ("cutout",)))
    sizes = []
    for image, holed in zip(np.asarray(IMAGES), cut, strict=True):
        hole = np.all(holed == 0, axis=-1)
        np.testing.assert_array_equal(holed[~hole], image[~hole])
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)  # a rectangle
        sizes.append((len(rows), len(columns)))
    assert max(sizes) == (8, 6)
    assert all(rows >= 4 and columns >= 3 for rows, columns in sizes)  # half of it is inside


def test_color_keeps_edges_and_changes_levels():
    coloured = np.asarray(augment(IMAGES, KEYS, ("color",)))
    brightness = (coloured - np.asarray(IMAGES)).mean((1, 2, 3))
    assert brightness.min() < -0.3
    assert brightness.max() > 0.3
    assert np.abs(brightness).max() <= 0.5 + 1e-5
    grey = augment(IMAGES[..., :1], KEYS, ("color",))
    for image, changed in zip(np.asarray(IMAGES[..., :1]), np.asarray(grey), strict=True):
        slope, _ = np.polyfit(image.ravel(), changed.ravel(), 1)
        assert 0.5 - 1e-4 <= slope <= 1.5 + 1e-4
        assert np.corrcoef(image.ravel(), changed.ravel())[0, 1] > 0.9999


@pytest.mark.slow
def test_an_image_does_not_depend_on_the_others():
    policy = tuple(AUGMENTATIONS)
    whole = augment(IMAGES, KEYS, policy)
    alone = augment(IMAGES[5:6], KEYS[5:6], policy)
    np.testing.assert_allclose(whole[5:6], alone, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_gradients_are_those_of_differences():
    images, keys = jnp.asarray(IMAGES[:2], jnp.float64), KEYS[:2]

    def total(images):
        return jnp.sum(jnp.sin(diff_augment(images, keys, tuple(AUGMENTATIONS))))

    direction = jnp.cos(jnp.arange(images.size, dtype=jnp.float64)).reshape(images.shape)
    value_and_gradient = quick_jit(jax.value_and_grad(total))
    _, gradient = value_and_gradient(images)
    above, below = (value_and_gradient(images + step * direction)[0] for step in (1e-6, -1e-6))
    slope = (above - below) / 2e-6
    np.testing.assert_allclose(jnp.sum(gradient * direction), slope, rtol=1e-6)
