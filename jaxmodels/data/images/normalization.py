"""Normalisation of images by the statistics of a training split."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, Shaped

# Pixels added at a time: they fit the cache of a core, and the squares of 16-bit pixels add up
# exactly in float64.
_PIXELS = 1 << 17


class Normalization(NamedTuple):
    """Mean and standard deviation per channel, in the units of the stored pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(
        self, images: Num[Array | np.ndarray, "batch height width channels"]
    ) -> Float[Array, "batch height width colours"]:
        """Computes (images - mean) / std in float32; traceable. Grey images get as many channels as
        there are means."""
        # The reciprocal is taken here, in float64, so that each pixel takes one multiply-add.
        scale = np.divide(1.0, self.std)
        shift = -np.multiply(self.mean, scale)
        return jnp.asarray(images, jnp.float32) * scale.astype("f4") + shift.astype("f4")


class Moments(NamedTuple):
    """Sums over the pixels of each part. For integers of 8 or 16 bits: of the pixels and of their
    squares, both exact (int64). For other types: of the pixels and of their squared deviations from
    the part's mean (both float64)."""

    counts: Int[np.ndarray, " part"]
    total: Shaped[np.ndarray, "part channels"]
    square: Shaped[np.ndarray, "part channels"]


def normalization_of(images: Num[np.ndarray, "example height width channels"]) -> Normalization:
    """Computes the statistics of all pixels, rounded to nine digits, as many as float32 has, so
    that every machine finds the same ones.

    A channel that is constant keeps its scale (std 1), so that nothing is divided by zero.
    """
    parts = images
    if _is_exact(images.dtype):  # exact sums are the same for any parts
        pixels = images.reshape(-1, images.shape[-1])
        parts = (pixels[start : start + _PIXELS] for start in range(0, len(pixels), _PIXELS))
    counts, totals, squares = zip(*map(moments_of, parts))
    return normalization_from(Moments(np.array(counts), np.stack(totals), np.stack(squares)))


def moments_of(
    image: Num[np.ndarray, "*shape channels"],
) -> tuple[int, Shaped[np.ndarray, " channels"], Shaped[np.ndarray, " channels"]]:
    """Computes one row of `Moments`."""
    pixels = image.reshape(-1, image.shape[-1])
    if not _is_exact(image.dtype):
        pixels = pixels.astype(np.float64)
        total = pixels.sum(0)
        deviations = pixels - total / len(pixels)
        return len(pixels), total, np.einsum("pc,pc->c", deviations, deviations)
    total = square = np.zeros(image.shape[-1], np.int64)
    for start in range(0, len(pixels), _PIXELS):
        # The sums are integers below 2**53: exact in float64, which is far faster than int64.
        part = pixels[start : start + _PIXELS].T.astype(np.float64)
        total = total + part.sum(1).astype(np.int64)
        square = square + np.einsum("cp,cp->c", part, part).astype(np.int64)
    return len(pixels), total, square


def normalization_from(moments: Moments) -> Normalization:
    """Computes the statistics of all pixels from the moments of their parts, in any order."""
    counts = moments.counts.tolist()
    statistics = _exact if moments.total.dtype == np.int64 else _centred
    channels = [
        [float(f"{value:.9g}") for value in statistics(counts, totals, squares)]
        for totals, squares in zip(moments.total.T.tolist(), moments.square.T.tolist())
    ]
    mean, std = zip(*channels)
    return Normalization(mean, std)


def _is_exact(dtype: np.dtype) -> bool:
    return np.issubdtype(dtype, np.integer) and np.dtype(dtype).itemsize <= 2


def _exact(counts: list[int], totals: list[int], squares: list[int]) -> tuple[float, float]:
    count, total, square = sum(counts), sum(totals), sum(squares)
    # Python's integers are exact and divided once, so nothing cancels and nothing overflows.
    return total / count, _scale(total / count, (count * square - total**2) / count**2)


def _centred(counts: list[int], totals: list[float], squares: list[float]) -> tuple[float, float]:
    count = sum(counts)
    mean = math.fsum(totals) / count
    between = (n * (total / n - mean) ** 2 for n, total in zip(counts, totals))
    return mean, _scale(mean, (math.fsum(squares) + math.fsum(between)) / count)


def _scale(mean: float, variance: float) -> float:
    std = math.sqrt(variance)
    return std if std > 1e-6 * max(abs(mean), 1e-6) else 1.0
