"""Distances of sounds against their definitions, in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops.spectral import Mel, Transform, log_mel
from jaxmodels.ops.spectral_distance import mel_distances, resolutions_of, stft_distances
from tests.marks import slow_but

MEL = Mel(rate=4000, window=64, hop=16, bands=8)


def sounds(seed):
    """Two sounds of 240 samples, of which 240 and 130 count."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, 240)), jnp.float32)


LENGTH = jnp.array([240, 130])


def magnitudes(sound, transform):
    half = transform.samples // 2
    padded = np.pad(np.asarray(sound, np.float64), (half, half), "reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, transform.samples)
    spectrum = np.fft.rfft(frames[:: transform.hop] * transform.weights())
    return np.maximum(np.abs(spectrum), np.sqrt(1e-7))


def test_distances_of_mel_spectrograms_are_over_the_frames_that_count():
    one, other = sounds(0), sounds(1)
    difference = np.abs(np.asarray(log_mel(one, MEL)) - np.asarray(log_mel(other, MEL)))
    expected = [difference[0, :16].mean(), difference[1, :9].mean()]
    np.testing.assert_allclose(mel_distances(one, other, LENGTH, MEL), expected, rtol=1e-5)


def test_distances_of_spectra_are_those_of_the_paper():
    one, other, transforms = sounds(0), sounds(1) * 0.3, resolutions_of(MEL.transform)
    assert transforms == (Transform(32, 8), Transform(64, 16), Transform(128, 32))
    expected = []
    for a, b, length in zip(one, other, LENGTH.tolist()):
        terms = []
        for transform in transforms:
            count = 1 + length // transform.hop
            s, t = (magnitudes(each, transform)[:count] for each in (a, b))
            convergence = np.linalg.norm(s - t) / np.linalg.norm(s)
            terms.append(convergence + np.abs(np.log(s) - np.log(t)).mean())
        expected.append(np.mean(terms))
    np.testing.assert_allclose(stft_distances(one, other, LENGTH, transforms), expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("distance", slow_but("stft", ["mel", "stft"]))
def test_equal_sounds_have_no_distance_and_a_finite_gradient(distance):
    def total(other):
        if distance == "mel":
            return mel_distances(sounds(0), other, LENGTH, MEL).sum()
        return stft_distances(sounds(0), other, LENGTH, (MEL.transform,)).sum()

    assert total(sounds(0)) == 0
    assert np.isfinite(jax.grad(total)(sounds(0))).all()
    assert np.isfinite(jax.grad(total)(jnp.zeros((2, 240)))).all()
