"""Crops of pictures, resized to one size: at random for training, central for evaluation."""

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from jaxmodels.data.images.decoding import decode_image, decode_with, is_jpeg, opencv
from jaxmodels.data.images.orientation import UPRIGHT, orientation_of, upright, upright_sides

AREA = (0.08, 1.0)  # smallest and largest share of a picture that a random crop keeps
_LOG_ASPECT = (math.log(3 / 4), math.log(4 / 3))
_TRIES = 10


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def random_resized_crop(
    encoded: bytes,
    size: int,
    seed: int,
    position: int,
    channels: int | None = None,
    dtype: np.dtype | type | None = None,
    scale: tuple[float, float] = AREA,
) -> Shaped[np.ndarray, "size size channels"]:
    """Makes the random crop of Inception (Szegedy et al. 2015), the usual one for ImageNet.

    It depends only on the picture, seed and position (of the example in the training run).

    scale: the smallest and largest share of the area.

    Raises:
      BadRecord: as `decode_image`.
    """
    return _crop(
        encoded,
        size,
        lambda height, width: random_box(height, width, seed, position, scale),
        channels,
        dtype,
    )


def central_crop(
    encoded: bytes,
    size: int,
    channels: int | None = None,
    dtype: np.dtype | type | None = None,
) -> Shaped[np.ndarray, "size size channels"]:
    """Makes the usual crop for evaluation: resizes the shorter side to size * 256 / 224 and takes
    the central square, in one step.

    Raises:
      BadRecord: as `decode_image`.
    """
    return _crop(encoded, size, central_box, channels, dtype)


def central_crop_of(
    image: Shaped[np.ndarray, "height width channels"], size: int
) -> Shaped[np.ndarray, "size size channels"]:
    """Makes the crop of `central_crop` of pixels that are decoded already."""
    return _resized(image, central_box(*image.shape[:2]), size)


def random_box(
    height: int, width: int, seed: int, position: int, scale: tuple[float, float] = AREA
) -> Box:
    """Draws the box of torchvision's `RandomResizedCrop`: a share of the area uniform in `scale`,
    an aspect log-uniform in 3/4-4/3, and a place uniform among those that fit. After ten tries that
    do not fit, it is the central largest box of an allowed aspect."""
    # Raw bits are the same in every version of numpy. `sample_order` may use the same key, so the
    # counter starts beyond the bits that it takes.
    bits = np.random.Philox(key=(seed, position), counter=(0, 0, 0, 1)).random_raw(4 * _TRIES)
    uniforms = ((bits >> 11) * 2.0**-53).reshape(_TRIES, 4).tolist()
    for area, aspect, down, right in uniforms:
        pixels = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        ratio = math.exp(_LOG_ASPECT[0] + (_LOG_ASPECT[1] - _LOG_ASPECT[0]) * aspect)
        h, w = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 0 < h <= height and 0 < w <= width:
            return Box(int(down * (height - h + 1)), int(right * (width - w + 1)), h, w)
    narrow, wide = (math.exp(bound) for bound in _LOG_ASPECT)
    h = min(height, max(1, round(width / narrow)))
    w = min(width, max(1, round(height * wide)))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def central_box(height: int, width: int) -> Box:
    """Returns the central square of 224/256 of the shorter side."""
    side = max(1, round(min(height, width) * 224 / 256))
    return Box((height - side) // 2, (width - side) // 2, side, side)


def _crop(encoded, size: int, box_of: Callable[[int, int], Box], channels, dtype) -> np.ndarray:
    sides = _sides_of_jpeg(encoded) if channels in (1, 3) else None
    orientation = orientation_of(encoded) if sides else UPRIGHT
    sides = sides and upright_sides(*sides, orientation)
    box = box_of(*sides) if sides else None
    if box:
        for factor in (8, 4, 2):
            if min(box.height, box.width) >= factor * size:
                image = upright(_decode_reduced(encoded, factor, channels), orientation)
                return _resized(image, _reduced(box, factor, *image.shape[:2]), size)
    image = decode_image(encoded, channels, dtype)
    return _resized(image, box or box_of(*image.shape[:2]), size)


def _sides_of_jpeg(encoded: bytes) -> tuple[int, int] | None:
    """Reads height and width, as stored, from the header; None if that fails or it is no JPEG."""
    from PIL import Image

    if not is_jpeg(encoded):
        return None
    try:
        width, height = Image.open(io.BytesIO(encoded), formats=("JPEG",)).size
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return None  # the full decoding will say what is wrong
    return height, width


def _decode_reduced(encoded: bytes, factor: int, channels: int) -> np.ndarray:
    """Decodes a JPEG at 1/factor of its size, which skips most of the work."""
    cv2 = opencv()
    grey = {
        2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }[factor]
    colour = cv2.IMREAD_COLOR_RGB if channels == 3 else 0
    image = decode_with(encoded, grey | colour | cv2.IMREAD_IGNORE_ORIENTATION)
    return image.reshape(*image.shape[:2], channels)


def _reduced(box: Box, factor: int, height: int, width: int) -> Box:
    """Scales a box to a picture reduced by factor to height x width. Rounding moves it by at most
    factor / 2 pixels of the full picture, which is little: its sides have factor * size or more."""
    h, w = min(height, round(box.height / factor)), min(width, round(box.width / factor))
    top, left = min(height - h, round(box.top / factor)), min(width - w, round(box.left / factor))
    return Box(top, left, h, w)


def _resized(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    cv2 = opencv()
    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    shrinks = min(box.height, box.width) >= size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    part = cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=way)
    return part.reshape(size, size, image.shape[2])
