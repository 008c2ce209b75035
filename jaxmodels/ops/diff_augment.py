"""Differentiable augmentation of real and generated images (DiffAugment, Zhao et al. 2020)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Image = Float[Array, "height width channels"]


def _color(key: Key[Array, ""], image: Image) -> Image:
    """Adds -0.5..0.5 to all values, then multiplies saturation by 0..2 and contrast by 0.5..1.5.

    An image of one channel has no saturation.
    """
    brightness, saturation, contrast = jax.random.uniform(key, (3,))
    image = image + (brightness - 0.5)
    grey = jnp.mean(image, axis=-1, keepdims=True)
    image = grey + 2 * saturation * (image - grey) if image.shape[-1] > 1 else image
    mean = jnp.mean(image)
    return mean + (0.5 + contrast) * (image - mean)


def _translation(key: Key[Array, ""], image: Image) -> Image:
    """Shifts the image by up to an eighth of each side; the uncovered pixels are 0 (grey)."""

    # The shift is a product with a shifted identity, because derivatives of a product are products.
    # Those of a slice at a traced place are scatters.
    def shift(key, size):
        most = int(size / 8 + 0.5)
        by = jax.random.randint(key, (), -most, most + 1)
        return (jnp.arange(size)[:, None] + by == jnp.arange(size)).astype(image.dtype)

    rows, columns = jax.random.split(key)
    return jnp.einsum(
        "ih,jw,hwc->ijc", shift(rows, image.shape[0]), shift(columns, image.shape[1]), image
    )


def _cutout(key: Key[Array, ""], image: Image) -> Image:
    """Sets a rectangle of half of each side to 0 (grey); a part of it may lie outside."""

    def outside(key, size):
        half = int(size / 2 + 0.5)
        first = jax.random.randint(key, (), 0, size + (1 - half % 2)) - half // 2
        return (jnp.arange(size) < first) | (jnp.arange(size) >= first + half)

    rows, columns = jax.random.split(key)
    keep = outside(rows, image.shape[0])[:, None] | outside(columns, image.shape[1])
    return image * keep[..., None]


AUGMENTATIONS = {"color": _color, "translation": _translation, "cutout": _cutout}


def diff_augment(
    images: Float[Array, "batch height width channels"],
    keys: Key[Array, " batch"],
    policy: Sequence[str],
) -> Float[Array, "batch height width channels"]:
    """Augments each image, in -1..1, by its own key.

    policy: names of AUGMENTATIONS, which are applied in this order.
    """
    for number, name in enumerate(policy):
        own_keys = jax.vmap(lambda key, number=number: jax.random.fold_in(key, number))(keys)
        images = jax.vmap(AUGMENTATIONS[name])(own_keys, images)
    return images
