"""Random crops of padded images, and mirrored images."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Num

Images = Num[Array, "batch height width channels"]
Number = int | float
Scalar = Number | Float[Array, ""]  # also one that the program computes


def crop(
    images: Images,
    tops: Int[Array, " batch"],
    lefts: Int[Array, " batch"],
    padding: int,
    fill: Number | Literal["reflect"] = 0,
) -> Images:
    """Pads each image, and cuts a window of the image's own size out of it.

    tops, lefts: the window's corner in the padded image, 0..2 * padding; at (padding, padding) the
      window is the image itself.
    padding: pixels added on each side.
    fill: the value of the pixels added, or "reflect" for the image mirrored at its outermost
      pixels.

    Raises:
      ValueError: a reflection wider than the image.
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
    # On a CPU, slices are as fast as gathering rows and columns, and several times as fast as
    # products with shifted identities.
    return jax.vmap(
        lambda image, top, left: jax.lax.dynamic_slice(image, (top, left, 0), images.shape[1:])
    )(padded, tops, lefts)


def random_crop(
    images: Images,
    keys: Key[Array, " batch"],
    padding: int,
    fill: Number | Literal["reflect"] = 0,
) -> Images:
    """Shifts each image by up to `padding` pixels each way, with equal chances (see `crop`).

    It is torchvision's RandomCrop of the image's size.
    """
    corners = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * padding + 1))(keys)
    return crop(images, corners[:, 0], corners[:, 1], padding, fill)


def flip(images: Images, mirrored: Bool[Array, " batch"]) -> Images:
    """Exchanges left and right in the images that are to be mirrored."""
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def random_flip(images: Images, keys: Key[Array, " batch"], probability: Scalar = 0.5) -> Images:
    """Exchanges left and right in each image with a probability."""
    return flip(images, jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys))
