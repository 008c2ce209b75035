"""Mel-cepstral distortion between a synthesised sound and a recorded one, after alignment."""

import numpy as np
import scipy.fft
from jaxtyping import Float, Int


def mel_cepstral_distortion(
    first: Float[np.ndarray, "frames bands"],
    second: Float[np.ndarray, "others bands"],
    coefficients: int = 13,
) -> float:
    """Computes the mean distance in dB of the frames that dynamic time warping puts side by side
    (Kubichek 1993): of smooth spectra, whose first `coefficients` cepstral coefficients are kept,
    but for the one that is the loudness.

    first, second: natural logarithms of mel powers. With half of them, the logarithms of
    amplitudes, and coefficients c of a sum c_m cos(m w), this is 10 sqrt(2) / ln 10 times the
    Euclidean distance of the coefficients: the root mean square of the differences in dB.
    """
    cepstra = [
        scipy.fft.dct(each.astype(np.float64), norm="ortho")[:, 1 : coefficients + 1]
        for each in (first, second)
    ]
    distances = np.linalg.norm(cepstra[0][:, None] - cepstra[1][None], axis=-1)
    path = warping_path(distances)
    decibels = 10 / np.log(10) / np.sqrt(first.shape[1])
    return float(decibels * distances[path[:, 0], path[:, 1]].mean())


def warping_path(costs: Float[np.ndarray, "frames others"]) -> Int[np.ndarray, "steps 2"]:
    """Finds the path of least cost from the first pair of frames to the last, which goes one frame
    on in either sound or in both (Sakoe & Chiba 1978, without weights)."""
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for row in range(rows):
        for column in range(columns):
            before = min(total[row, column], total[row, column + 1], total[row + 1, column])
            total[row + 1, column + 1] = costs[row, column] + before
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        row, column = path[-1]
        ways = {
            (row - 1, column - 1): total[row, column],
            (row - 1, column): total[row, column + 1],
            (row, column - 1): total[row + 1, column],
        }
        path.append(min(ways, key=lambda way: (ways[way], way)))
    return np.array(path[::-1])
