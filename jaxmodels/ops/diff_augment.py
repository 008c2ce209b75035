"""Differentiable augmentation of real images and fakes alike (DiffAugment, Zhao et al. 2020)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Image = Float[Array, "height width channels"]


def _color(key: Key[Array, ""], image: Image) -> Image:
    """Brightness by -0.5..0.5, saturation by 0..2 (nothing on grey), contrast by 0.5..1.5."""
    brightness, saturation, contrast = jax.random.uniform(key, (3,))
    image = image + (brightness - 0.5)
    grey = jnp.mean(image, axis=-1, keepdims=True)
    image = grey + 2 * saturation * (image - grey) if image.shape[-1] > 1 else image
    mean = jnp.mean(image)
    return mean + (0.5 + contrast) * (image - mean)


def _translation(key: Key[Array, ""], image: Image) -> Image:
    """A shift by up to an eighth of each side; what comes in is 0 (grey)."""

    # A product with a shifted identity: its derivatives of any order are products again, where a
    # slice at a traced place would make a scatter of them.
    def shift(key, size):
        most = int(size / 8 + 0.5)
        by = jax.random.randint(key, (), -most, most + 1)
        return (jnp.arange(size)[:, None] + by == jnp.arange(size)).astype(image.dtype)

    rows, columns = jax.random.split(key)
    return jnp.einsum(
        "ih,jw,hwc->ijc", shift(rows, image.shape[0]), shift(columns, image.shape[1]), image
    )


def _cutout(key: Key[Array, ""], image: Image) -> Image:
    """A square of half the side set to 0 (grey), as much of it as is inside."""

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
    """The images, in -1..1, each augmented by its key; policy: of color, translation, cutout."""
    for number, name in enumerate(policy):
        keys_of_one = jax.vmap(lambda key, number=number: jax.random.fold_in(key, number))(keys)
        images = jax.vmap(AUGMENTATIONS[name])(keys_of_one, images)
    return images
