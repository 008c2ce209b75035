"""Windows of a padded picture, and mirrored pictures."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, Num

Images = Num[Array, "batch height width channels"]


def crop(
    images: Images,
    tops: Int[Array, " batch"],
    lefts: Int[Array, " batch"],
    padding: int,
    fill: float | Literal["reflect"] = 0,
) -> Images:
    """The window of the images' own size at (top, left), each in 0..2 * padding, of the images
    with `padding` pixels added on each side; at (padding, padding) it is the image itself.

    fill: the value of the pixels added, or reflect: the picture mirrored at its outermost pixels.

    Raises:
      ValueError: a reflection wider than the picture.
    """
    height, width = images.shape[1:3]
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    if fill == "reflect":
        if padding >= min(height, width):
            raise ValueError(
                f"padding = {padding}; expected less than the sides, {height} x {width}, to reflect"
            )
        padded = jnp.pad(images, sides, mode="reflect")
    else:
        padded = jnp.pad(images, sides, constant_values=jnp.asarray(fill, images.dtype))
    # On two CPU cores, a batch of 128 in a loop, 28x28x1 and 32x32x3: these slices 0.17 and 0.19
    # ms, taking rows and then columns 0.20 and 0.18, pixels 0.36 and 0.29, products with shifted
    # identities 0.53 and 0.85, choosing among all shifts 0.40 and 3.8.
    return jax.vmap(
        lambda image, top, left: jax.lax.dynamic_slice(image, (top, left, 0), images.shape[1:])
    )(padded, tops, lefts)


def random_crop(
    images: Images,
    keys: Key[Array, " batch"],
    padding: int,
    fill: float | Literal["reflect"] = 0,
) -> Images:
    """Each image shifted by up to `padding` pixels each way, every shift as likely (torchvision's
    RandomCrop of the image's size); see `crop`."""
    corners = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * padding + 1))(keys)
    return crop(images, corners[:, 0], corners[:, 1], padding, fill)


def flip(images: Images, mirrored: Bool[Array, " batch"]) -> Images:
    """The images that are `mirrored` with left and right exchanged, the others as they are."""
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def random_flip(images: Images, keys: Key[Array, " batch"], probability: float = 0.5) -> Images:
    """Each image mirrored left to right with a probability."""
    return flip(images, jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys))
