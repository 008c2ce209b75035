"""Random erasing (Zhong et al. 2020, "Random Erasing Data Augmentation")."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmodels.ops.augmentation.crops import Images, Number, Scalar

_TRIES = 10  # Random sizes of a rectangle, of which the first that fits is taken.


def erasing_box(
    draws: Float[Array, "22"],
    height: int,
    width: int,
    area: tuple[float, float] = (0.02, 0.33),
    aspect: tuple[float, float] = (0.3, 3.3),
) -> Int[Array, "4"]:
    """Makes a rectangle (top, left, height, width) inside an image, as torchvision's RandomErasing.

    draws: uniform in 0..1: ten shares of the area, ten aspects, and the place (down, right). The
      first share and aspect whose rectangle is smaller than the image are taken. If none is, height
      and width are 0.
    area: the least and the greatest share of the image.
    aspect: the least and the greatest height / width; its log is uniform.
    """
    shares, aspects, place = draws[:_TRIES], draws[_TRIES : 2 * _TRIES], draws[2 * _TRIES :]
    areas = height * width * (area[0] + (area[1] - area[0]) * shares)
    low, high = math.log(aspect[0]), math.log(aspect[1])
    ratios = jnp.exp(low + (high - low) * aspects)
    heights = jnp.round(jnp.sqrt(areas * ratios)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(areas / ratios)).astype(jnp.int32)
    fits = (heights < height) & (widths < width)
    first = jnp.argmax(fits)
    size = jnp.where(fits[first], jnp.stack([heights[first], widths[first]]), 0)
    corner = (place * (jnp.asarray([height, width]) - size + 1)).astype(jnp.int32)
    return jnp.concatenate([corner, size])


def inside(
    boxes: Int[Array, "*batch 4"], height: int, width: int
) -> Bool[Array, "*batch height width"]:
    """Marks the pixels that lie in the boxes (top, left, height, width)."""
    top, left, tall, wide = jnp.moveaxis(boxes[..., None], -2, 0)
    rows, columns = jnp.arange(height), jnp.arange(width)
    rows = (rows >= top) & (rows < top + tall)
    columns = (columns >= left) & (columns < left + wide)
    return rows[..., :, None] & columns[..., None, :]


def random_boxes(
    keys: Key[Array, " batch"],
    height: int,
    width: int,
    probability: Scalar = 0.5,
    area: tuple[float, float] = (0.02, 0.33),
    aspect: tuple[float, float] = (0.3, 3.3),
) -> Int[Array, "batch 4"]:
    """Draws, with a probability, the rectangle that is erased of each image (see `erasing_box`);
    others have one of zeros."""

    def draw(key):
        # One call draws all numbers, because each call of jax.random adds to the compiled program.
        draws = jax.random.uniform(jax.random.fold_in(key, 0), (2 * _TRIES + 3,))
        box = erasing_box(draws[1:], height, width, area, aspect)
        return jnp.where(draws[0] < probability, box, 0)

    return jax.vmap(draw)(keys)


def random_erasing(
    images: Images,
    keys: Key[Array, " batch"],
    probability: Scalar = 0.5,
    area: tuple[float, float] = (0.02, 0.33),
    aspect: tuple[float, float] = (0.3, 3.3),
    fill: Number | Literal["noise"] = 0,
    white: Number = 255,
) -> Images:
    """Replaces, with a probability, a rectangle of each image (see `erasing_box`).

    area, aspect: of the rectangle, as in `erasing_box`.
    fill: the new value, or "noise" for one of 256 levels of 0..white with equal chances, drawn for
      each pixel and channel and rounded down in images of integers (the paper's RE-R, its best).
    """
    size = images.shape[1:]
    boxes = random_boxes(keys, *size[:2], probability, area, aspect)

    def noise(key):
        # Bytes take a quarter of the random bits that floats would take.
        values = jax.random.bits(jax.random.fold_in(key, 1), size, jnp.uint8).astype(jnp.float32)
        if jnp.issubdtype(images.dtype, jnp.integer):
            return jnp.floor(values * ((white + 1) / 256)).astype(images.dtype)
        return (values * (white / 255)).astype(images.dtype)

    values = jax.vmap(noise)(keys) if fill == "noise" else jnp.asarray(fill, images.dtype)
    return jnp.where(inside(boxes, *size[:2])[..., None], values, images)


def box_area(boxes: Int[Array, "*batch 4"], height: int, width: int) -> Float[Array, "*batch"]:
    """Computes the share of the image that the boxes (top, left, height, width) cover."""
    return (boxes[..., 2] * boxes[..., 3]) / (height * width)
