"""The constants of spectrograms: windows, mel filters and cosine transforms, in numpy."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

# Slaney's scale (Auditory Toolbox, 1998): linear below 1,000 Hz, logarithmic above.
_STEP = 200.0 / 3  # Hz of a mel below
_BREAK = 1000.0  # Hz
_GROWTH = np.log(6.4) / 27  # of the logarithm of Hz, for a mel above


@lru_cache(maxsize=64)
def hann_window(window: int, size: int) -> Float[np.ndarray, " size"]:
    """Makes a periodic Hann window in the middle of `size` samples.

    Raises:
      ValueError: a window longer than that.
    """
    if window > size:
        raise ValueError(f"window = {window}, size = {size}; expected a window of at most the size")
    weights = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    left = (size - window) // 2
    return np.pad(weights, (left, size - window - left)).astype(np.float32)


def hz_to_mel(frequencies: Float[np.ndarray, " count"], scale: str) -> Float[np.ndarray, " count"]:
    """Converts Hz to mel on the scale "slaney" or "htk" (2595 log10(1 + f / 700))."""
    if scale == "htk":
        return 2595 * np.log10(1 + frequencies / 700)
    above = _BREAK / _STEP + np.log(np.maximum(frequencies, 1e-10) / _BREAK) / _GROWTH
    return np.where(frequencies < _BREAK, frequencies / _STEP, above)


def mel_to_hz(mels: Float[np.ndarray, " count"], scale: str) -> Float[np.ndarray, " count"]:
    """Inverts `hz_to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    above = _BREAK * np.exp(_GROWTH * (mels - _BREAK / _STEP))
    return np.where(mels < _BREAK / _STEP, mels * _STEP, above)


@lru_cache(maxsize=64)
def mel_filters(
    rate: int, size: int, bands: int, low: float, high: float, scale: str, norm: str
) -> Float[np.ndarray, "frequencies bands"]:
    """Makes triangular filters over the frequencies of an FFT of `size` samples: the transpose of
    `librosa.filters.mel`.

    Raises:
      ValueError: a band that holds no frequency of the FFT, or an impossible range.
    """
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"bands of {low:g} to {high:g} Hz; expected 0 <= low < high <= {rate / 2}")
    first, last = hz_to_mel(np.array([low, high]), scale).tolist()
    edges = mel_to_hz(np.linspace(first, last, bands + 2), scale)
    frequencies = np.linspace(0, rate / 2, 1 + size // 2)
    rising = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    if norm == "slaney":
        weights *= 2 / (edges[2:] - edges[:-2])
    if not weights.any(0).all():
        empty = int(np.flatnonzero(~weights.any(0))[0])
        raise ValueError(
            f"{bands} mel bands at {rate} Hz with an FFT of {size} samples leave band {empty}"
            " empty; expected fewer bands or a larger FFT"
        )
    return weights.astype(np.float32)


@lru_cache(maxsize=16)
def cosine_matrix(size: int, count: int) -> Float[np.ndarray, "size count"]:
    """Makes the first `count` columns of the orthonormal cosine transform (type II) of `size`
    numbers."""
    angles = np.pi * (np.arange(size)[:, None] + 0.5) * np.arange(count) / size
    matrix = np.cos(angles) * np.sqrt(2 / size)
    matrix[:, 0] /= np.sqrt(2)
    return matrix.astype(np.float32)
