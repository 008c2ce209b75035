"""Resizing of images."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, Num

# The pixels of a row that make each resized pixel, and their weights.
Taps = tuple[Int[np.ndarray, "tap resized"], Float[np.ndarray, "tap resized"]]


def resize_image(
    image: Num[np.ndarray, "height width channels"], size: int
) -> Num[np.ndarray, "side side channels"]:
    """Resizes an image to size x size pixels (see `resize_to`)."""
    return resize_to(image, size, size)


def resize_to(
    image: Num[np.ndarray, "height width channels"], tall: int, wide: int
) -> Num[np.ndarray, "{tall} {wide} channels"]:
    """Resizes an image, bilinear with antialias as `jax.image.resize` does; integers are rounded to
    their type.

    The weighted rows and columns are added up in a fixed order, so that an image has the same
    pixels wherever it is resized.
    """
    resized = image.astype(np.float32)
    for axis, size in ((0, tall), (1, wide)):
        places, weights = _taps(resized.shape[axis], size)
        shape = [-1 if axis == other else 1 for other in range(3)]
        parts = (
            resized.take(place, axis) * weight.reshape(shape)
            for place, weight in zip(places, weights)
        )
        resized = sum(parts, start=np.float32(0))
    if np.issubdtype(image.dtype, np.integer):
        resized = np.round(resized)
    return resized.astype(image.dtype)


@lru_cache(maxsize=256)
def _taps(size: int, resized: int) -> Taps:
    """Returns the taps of a row of `size` pixels that is resized as a whole."""
    centres = (np.arange(resized) + 0.5) * (size / resized) - 0.5
    return triangle_taps(size, centres, max(size / resized, 1.0))


def triangle_taps(size: int, centres: Float[np.ndarray, " resized"], width: float) -> Taps:
    """Returns which of `size` pixels in a row make each resized pixel, and their weights: a
    triangle about its centre.

    width: half the base of the triangle, a pixel of the coarser grid.
    """
    firsts = np.ceil(centres - width).astype(int)
    places = firsts + np.arange(int(2 * width) + 1)[:, None]
    weights = np.maximum(0, 1 - np.abs(places - centres) / width)
    weights[(places < 0) | (places >= size)] = 0
    return places.clip(0, size - 1), (weights / weights.sum(0)).astype(np.float32)
