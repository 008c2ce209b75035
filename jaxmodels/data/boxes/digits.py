"""scikit-learn's real handwritten digits, scattered on coloured canvases with exact boxes."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from jaxmodels.data.boxes.annotations import annotation
from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, Dataset, Record
from jaxmodels.data.images.digits import load_digits
from jaxmodels.data.images.resize import resize_to

NAME = "digits"
SIZES = {TRAIN: 3000, VALIDATION: 100, TEST: 200}
_VERSION = "1.0.0"
_CANVAS = (72, 96)  # smallest and largest side, pixels
_DIGIT = (12, 34)  # smallest and largest side of an 8x8 image on the canvas
_MOST = 8  # digits that are tried on a canvas
_COVER = 0.1  # the share of a box that others may cover
_INK = 0.2  # how opaque a pixel of a digit is at least
_CONTRAST = 90  # levels between digit and ground, in one channel at least
_NOISE = 12  # levels of noise, up and down
_KEY = 22  # of all random numbers here


class ScatteredDigits:
    """`Records` of canvases, drawn when they are read; each is a function of split and row.

    images: the digits of the split, [digit, 8, 8] in 0..16; those of other splits are others.
    """

    def __init__(self, split: str, images: np.ndarray, labels: np.ndarray):
        self._split, self._images, self._labels = split, images, labels

    def __len__(self) -> int:
        return SIZES[self._split]

    def key(self, row: int) -> str:
        """Returns SPLIT/ROW."""
        return f"{self._split}/{row}"

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Draws the canvases of these rows."""
        return [self._draw(row) for row in rows]

    def _draw(self, row: int) -> Record:
        bits = np.random.Philox(key=(_KEY, (list(SIZES).index(self._split) << 32) + row))
        draws = _uniform(bits, 10)
        low, high = _CANVAS
        height, width = (low + int(draw * (high + 1 - low)) for draw in draws[:2])
        canvas = _background(draws[3:], height, width)
        boxes: list[list[int]] = []
        labels = []
        for draw in _uniform(bits, _MOST * 7).reshape(_MOST, 7)[: int(draws[2] * (_MOST + 1))]:
            chosen = int(draw[0] * len(self._images))
            found = _placed(canvas, boxes, self._images[chosen], draw[1:])
            if found:
                boxes.append(found)
                labels.append(int(self._labels[chosen]))
        noise = bits.random_raw(-(-canvas.size // 8)).astype("<u8").view(np.uint8)[: canvas.size]
        canvas += noise.reshape(canvas.shape) * (2 * _NOISE / 255) - _NOISE
        image = np.clip(np.round(canvas), 0, 255).astype(np.uint8)
        objects = annotation(boxes, labels)
        return {"image": image, "relative": False, **objects._asdict()}


def scattered_digits() -> Dataset:
    """Returns the generated data set. The digits of the validation and test splits are not those of
    the training split."""
    splits, fingerprint = load_digits()
    content = repr((_VERSION, _KEY, SIZES, fingerprint))
    records = {
        split: ScatteredDigits(split, splits[split]["image"][..., 0], splits[split]["label"])
        for split in SIZES
    }
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return Dataset(NAME, _VERSION, digest, records, {"labels": tuple("0123456789")})


def _uniform(bits: np.random.Philox, count: int) -> Float[np.ndarray, " {count}"]:
    """Makes numbers in [0, 1) of raw bits, which are the same in every numpy."""
    return (bits.random_raw(count) >> np.uint64(11)) / 2.0**53


def _background(
    draws: Float[np.ndarray, "7"], height: int, width: int
) -> Float[np.ndarray, "{height} {width} 3"]:
    """Draws a slope from one colour towards another, in a random direction."""
    start, end = draws[:6].reshape(2, 3) * 255
    angle = draws[6] * 2 * np.pi
    x, y = np.arange(width) / width - 0.5, np.arange(height)[:, None] / height - 0.5
    share = np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)[..., None]
    return start + share * (0.4 * (end - start))


def _placed(
    canvas: Float[np.ndarray, "height width 3"],
    boxes: list[list[int]],
    digit: UInt8[np.ndarray, "8 8"],
    draws: Float[np.ndarray, "6"],
) -> list[int] | None:
    """Draws a digit onto the canvas, in place, and returns its box: the pixels with ink. None: the
    place is taken."""
    low, high = _DIGIT
    height, width = canvas.shape[:2]
    side = low + int(draws[0] * (high + 1 - low))
    top, left = int(draws[1] * (height - side + 1)), int(draws[2] * (width - side + 1))
    ink = resize_to(digit[..., None].astype(np.float32) / 16, side, side)
    rows, columns = (np.flatnonzero((ink[..., 0] >= _INK).any(axis)) for axis in (1, 0))
    box = [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]
    box = [int(edge) for edge in box]
    if any(_cover(box, other) > _COVER for other in boxes):
        return None
    below = canvas[top : top + side, left : left + side]
    # A colour near that of the ground is moved away from it; otherwise nobody could see the digit.
    colour, ground = draws[3:] * 255, below.mean((0, 1))
    if np.abs(colour - ground).max() < _CONTRAST:
        colour = np.where(ground < 128, 255 - 0.3 * colour, 0.3 * colour)
    below += np.where(ink >= _INK, ink, 0) * (colour - below)
    return box


def _cover(box: list[int], other: list[int]) -> float:
    """Computes the share of the smaller box that both cover."""
    wide = min(box[2], other[2]) - max(box[0], other[0])
    tall = min(box[3], other[3]) - max(box[1], other[1])
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return max(0, wide) * max(0, tall) / min(areas)
