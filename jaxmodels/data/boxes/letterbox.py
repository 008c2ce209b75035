"""Pictures of any size on a canvas of one size, with their sides in proportion."""

from functools import lru_cache

import numpy as np
from jaxtyping import UInt8

from jaxmodels.data.images.resize import Taps, triangle_taps

GREY = 114  # of the canvas beside the picture, as in YOLOv5 (Jocher 2020)


def scale_of(size: tuple[int, int], canvas: tuple[int, int]) -> float:
    """Returns the pixels of the canvas (height, width) to one of a picture that just fits it. It is
    rounded to 32 bits, so that every reader of the column computes with the same number."""
    return float(np.float32(min(canvas[0] / size[0], canvas[1] / size[1])))


def resized_sides(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Returns height and width of the picture on the canvas, in whole pixels."""
    scale = scale_of(size, canvas)
    height, width = (
        min(max(1, round(side * scale)), room) for side, room in zip(size, canvas, strict=True)
    )
    return height, width


def letterbox(
    image: UInt8[np.ndarray, "height width channels"], canvas: tuple[int, int]
) -> UInt8[np.ndarray, "tall wide channels"]:
    """Resizes a picture by `scale_of`, bilinear with antialias, into the top left of a grey canvas.

    Column c of the picture lies at scale * c on the canvas, exactly, although the picture's last
    column there may be a part of one. Sums are in a fixed order, as in `resize_image`.
    """
    scale = scale_of(image.shape[:2], canvas)
    sides = resized_sides(image.shape[:2], canvas)
    resized = image
    if scale != 1.0:
        resized = image.astype(np.float32)
        for axis in (0, 1):
            places, weights = _taps(resized.shape[axis], sides[axis], scale)
            shape = [-1 if axis == other else 1 for other in range(3)]
            total = np.float32(0)
            for place, weight in zip(places, weights, strict=True):
                total = total + resized.take(place, axis) * weight.reshape(shape)
            resized = total
        resized = np.round(resized).astype(np.uint8)
    placed = np.full((*canvas, image.shape[2]), GREY, np.uint8)
    placed[: sides[0], : sides[1]] = resized
    return placed


@lru_cache(maxsize=256)
def _taps(size: int, resized: int, scale: float) -> Taps:
    """Returns the taps of a row of `size` pixels at a scale."""
    centres = (np.arange(resized) + 0.5) / scale - 0.5
    # Where the last pixel is there only in part, its centre may lie outside.
    return triangle_taps(size, centres.clip(0, size - 1), max(1 / scale, 1.0))
