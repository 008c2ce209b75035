"""Normalisation of images by the statistics of a training split."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

_PIXELS = 1 << 17  # at a time: what the cache of a core holds


class Normalization(NamedTuple):
    """Mean and standard deviation per channel, in the units of the stored pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(
        self, images: Num[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        """(images - mean) / std in float32; traceable."""
        # One multiply-add: the reciprocal is taken here, in float64.
        scale = np.divide(1.0, self.std)
        shift = -np.multiply(self.mean, scale)
        return images.astype(jnp.float32) * scale.astype("f4") + shift.astype("f4")


def normalization_of(images: Num[np.ndarray, "example height width channels"]) -> Normalization:
    """Statistics over all pixels of all images, in float64, rounded to nine digits: as many as
    float32 has, so that every machine finds the same ones.

    A channel that is constant keeps its scale (std 1), so that nothing is divided by zero.
    """
    pixels = images.reshape(-1, images.shape[-1])
    # About a pivot, since the plain sum of squares would cancel for values far from zero.
    pivot = np.asarray(images[0], np.float64).mean((0, 1))
    total = square = np.zeros(images.shape[-1])
    for start in range(0, len(pixels), _PIXELS):
        part = pixels[start : start + _PIXELS].T.astype(np.float64) - pivot[:, None]
        total = total + part.sum(1)
        square = square + np.einsum("cp,cp->c", part, part)
    mean = total / len(pixels)
    std = np.sqrt(np.maximum(square / len(pixels) - np.square(mean), 0))
    mean = mean + pivot
    std = np.where(std > 1e-6 * np.maximum(np.abs(mean), 1e-6), std, 1.0)
    return Normalization(*(tuple(float(f"{v:.9g}") for v in part) for part in (mean, std)))
