"""Spectrograms against librosa's, and Whisper's against transformers'."""

import jax.numpy as jnp
import numpy as np
import pytest

librosa = pytest.importorskip("librosa")

from jaxmodels.ops.spectral import (  # noqa: E402
    WHISPER,
    Mel,
    Transform,
    inverse_stft,
    log_mel,
    mel_spectrum,
    mfcc,
    stft,
)
from jaxmodels.ops.spectral_phase import griffin_lim  # noqa: E402

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def sound():
    seconds = np.arange(16_000) / 16_000
    tones = np.sin(2 * np.pi * 440 * seconds) + 0.3 * np.sin(2 * np.pi * 2500 * seconds**2)
    return (tones * 0.3 + np.random.default_rng(0).normal(size=16_000) * 0.01).astype(np.float32)


def test_transform_and_inverse(sound):
    expected = librosa.stft(sound, n_fft=512, hop_length=160, win_length=480, pad_mode="reflect")
    transform = Transform(480, 160, 512)
    found = stft(jnp.asarray(sound)[None], transform)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(found)[0].T / scale, expected / scale, atol=1e-6)
    back = librosa.istft(expected, hop_length=160, win_length=480, length=16_000)
    np.testing.assert_allclose(inverse_stft(found, transform, 16_000)[0], back, atol=1e-5)


@pytest.mark.parametrize(("scale", "norm"), [("slaney", "slaney"), ("htk", "none")])
def test_filters(scale, norm):
    mel = Mel(rate=16_000, window=512, hop=160, bands=64, low=20.0, scale=scale, norm=norm)
    expected = librosa.filters.mel(
        sr=16_000, n_fft=512, n_mels=64, fmin=20, htk=scale == "htk",
        norm=None if norm == "none" else norm,
    )  # fmt: skip
    np.testing.assert_allclose(mel.filters().T, expected, atol=1e-7)


def test_mel_spectrogram_decibels_and_coefficients(sound):
    mel = Mel(rate=16_000, window=400, hop=160, size=512, bands=40, pad="constant")
    options = {"sr": 16_000, "n_fft": 512, "hop_length": 160, "win_length": 400, "n_mels": 40}
    expected = librosa.feature.melspectrogram(y=sound, **options)
    found = np.asarray(mel_spectrum(jnp.asarray(sound)[None], mel))[0].T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())
    mel = mel._replace(log="decibels", floor=1e-10)
    expected = librosa.power_to_db(expected)
    np.testing.assert_allclose(log_mel(jnp.asarray(sound)[None], mel)[0].T, expected, atol=1e-4)
    expected = librosa.feature.mfcc(y=sound, n_mfcc=13, **options)
    found = mfcc(log_mel(jnp.asarray(sound)[None], mel), 13)[0].T
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_whisper_is_that_of_transformers(sound):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.WhisperFeatureExtractor()
    expected = theirs(sound, sampling_rate=16_000, return_tensors="np")["input_features"][0].T
    padded = jnp.pad(jnp.asarray(sound), (0, 480_000 - len(sound)))[None]
    found = np.asarray(log_mel(padded, WHISPER))[0]
    assert found.shape == expected.shape == (3000, 80)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - expected).mean() < 1e-6


def test_phases_of_griffin_and_lim(sound):
    magnitudes = np.abs(librosa.stft(sound, n_fft=512, hop_length=128))
    options = {"n_iter": 8, "hop_length": 128, "length": 16_000, "init": None}
    expected = librosa.griffinlim(magnitudes, pad_mode="reflect", **options)
    transform = Transform(512, 128)
    found = griffin_lim(jnp.asarray(magnitudes.T)[None], transform, 16_000, iterations=8)
    np.testing.assert_allclose(found[0], expected, atol=2e-3)
