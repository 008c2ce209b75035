"""Mel-cepstral distortion against its definition, and the path against all paths."""

import numpy as np
import pytest

from jaxmodels.metrics.mel_cepstral_distortion import mel_cepstral_distortion, warping_path


def spectra(frames, bands=20, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, bands))


def test_a_smooth_difference_counts_in_decibels():
    first = spectra(1)
    angles = np.pi * (np.arange(20) + 0.5) / 20
    # 3 cos(2 w) more of a log power is a coefficient of 1.5 of a log amplitude.
    found = mel_cepstral_distortion(first, first + 3 * np.cos(2 * angles))
    assert found == pytest.approx(10 * np.sqrt(2) / np.log(10) * 1.5)
    assert mel_cepstral_distortion(first, first + 5) == pytest.approx(0, abs=1e-9)
    assert mel_cepstral_distortion(first, first + np.cos(15 * angles)) == pytest.approx(0, abs=1e-9)


def test_a_slower_sound_has_no_distance():
    first = spectra(6)
    assert mel_cepstral_distortion(first, first.repeat(3, 0)) == 0
    assert mel_cepstral_distortion(first, spectra(6, seed=1)) > 3


def test_no_path_costs_less():
    costs = np.abs(np.random.default_rng(0).normal(size=(4, 5)))

    def least(row, column):
        if (row, column) == (0, 0):
            return costs[0, 0]
        before = [(row - 1, column), (row, column - 1), (row - 1, column - 1)]
        return costs[row, column] + min(least(*way) for way in before if min(way) >= 0)

    path = warping_path(costs)
    assert costs[path[:, 0], path[:, 1]].sum() == pytest.approx(least(3, 4))
    steps = np.diff(path, axis=0)
    assert ((steps >= 0) & (steps <= 1)).all() and path[0].tolist() == [0, 0]
