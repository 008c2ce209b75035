"""Spectrograms against their definitions: frames, transforms and their inverse, filters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxmodels.ops.spectral import (
    WHISPER,
    Mel,
    Transform,
    add_frames,
    as_float,
    frame_mask,
    inverse_stft,
    log_mel,
    mfcc,
    power_spectrum,
    split_frames,
    stft,
)
from jaxmodels.ops.spectral_phase import griffin_lim, magnitudes_of_mel


def noise(samples=1200, batch=2, seed=0):
    """Gives the device an array, because annotations ask for one."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, samples)), jnp.float32)


@pytest.mark.parametrize(("size", "hop"), [(8, 4), (10, 4), (4, 4), (3, 5)])
def test_frames_are_slices_and_adding_them_up_is_the_transpose(size, hop):
    sound = noise(53)
    frames = np.asarray(split_frames(sound, size, hop))
    count = 1 + (53 - size) // hop
    expected = np.stack([sound[:, t * hop : t * hop + size] for t in range(count)], 1)
    np.testing.assert_array_equal(frames, expected)
    other = noise(count * size).reshape(2, count, size)
    added = np.asarray(add_frames(other, hop))
    both = (frames * other).sum(), (sound[:, : added.shape[1]] * added).sum()
    np.testing.assert_allclose(*both, rtol=1e-4)


@pytest.mark.parametrize("transform", [Transform(64, 16), Transform(60, 20, 64, False)])
def test_a_transform_is_scipys_and_its_inverse_gives_the_sound_back(transform):
    sound = noise()
    found = np.asarray(stft(sound, transform))
    assert found.shape == (2, transform.frames(1200), 33)
    weights = scipy.signal.get_window("hann", transform.window)
    left = (transform.samples - transform.window) // 2
    weights = np.pad(weights, (left, transform.samples - transform.window - left))
    padded = np.pad(sound, ((0, 0), (32, 32)), "reflect") if transform.center else sound
    frames = np.lib.stride_tricks.sliding_window_view(padded, transform.samples, axis=1)
    expected = np.fft.rfft(frames[:, :: transform.hop] * weights)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    back = np.asarray(inverse_stft(jnp.asarray(found), transform, 1200))
    inside = slice(None) if transform.center else slice(64, 1100)
    np.testing.assert_allclose(back[:, inside], sound[:, inside], atol=2e-6)


def test_the_inverse_is_nearest_in_squares_to_any_spectrum():
    transform = Transform(16, 4, center=False)
    spectrum = noise(9 * 9).reshape(2, 9, 9) + 1j * noise(9 * 9, seed=1).reshape(2, 9, 9)
    spectrum = np.fft.rfft(np.fft.irfft(spectrum, 16)).astype(np.complex64)
    frames = np.fft.irfft(spectrum, 16)
    matrix = np.zeros((9 * 16, 48))
    for frame in range(9):
        rows = np.arange(16)
        matrix[frame * 16 + rows, frame * 4 + rows] = transform.weights()
    expected = np.linalg.lstsq(matrix, frames.reshape(2, -1).T, rcond=None)[0].T
    found = np.asarray(inverse_stft(jnp.asarray(spectrum), transform, 48))
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], atol=1e-4)


@pytest.mark.slow
def test_magnitudes_of_silence_have_a_gradient():
    gradient = jax.grad(lambda x: power_spectrum(stft(x, Transform(8, 4)), 1).sum())
    assert np.isfinite(gradient(jnp.zeros((1, 32)))).all()


def test_a_tone_lies_in_the_band_around_its_frequency():
    mel = Mel(rate=8000, window=256, hop=80, bands=40, scale="htk", norm="none")
    tone = np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)[None].astype(np.float32)
    band = int(np.asarray(log_mel(jnp.asarray(tone), mel))[0, 20].argmax())
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42) / 2595) - 1)
    assert edges[band] < 1000 < edges[band + 2]


@pytest.mark.slow
def test_whisper_has_3000_frames_of_half_a_minute_in_its_range():
    assert WHISPER.frames(480_000) == 3000
    values = np.asarray(log_mel(noise(16_000), WHISPER))
    assert values.shape == (2, 100, 80)
    np.testing.assert_allclose(np.ptp(values.reshape(2, -1), axis=1).max(), 2, atol=1.5)
    quiet = np.asarray(log_mel(jnp.zeros((1, 16_000)), WHISPER))
    np.testing.assert_allclose(quiet, (-10 + 4) / 4)


def test_coefficients_are_the_cosine_transform_of_the_logarithms():
    mel = Mel(rate=8000, window=200, hop=80, size=256, bands=26)
    expected = scipy.fft.dct(np.asarray(log_mel(noise(), mel)), norm="ortho")[..., :13]
    np.testing.assert_allclose(mfcc(log_mel(noise(), mel), 13), expected, atol=1e-4)


@pytest.mark.parametrize("center", [True, False])
def test_the_mask_has_the_frames_of_a_sound_without_what_fills_it_up(center):
    mel = Mel(rate=8000, window=64, hop=16, bands=8, center=center)
    lengths = jnp.array([64, 100, 129])
    found = np.asarray(frame_mask(lengths, mel.frames(200), mel.transform)).sum(1)
    assert found.tolist() == [mel.frames(length) for length in (64, 100, 129)]


def test_integers_become_floats_below_1():
    np.testing.assert_array_equal(as_float(jnp.array([-32768, 16384], jnp.int16)), [-1, 0.5])


def test_impossible_filters_name_the_numbers():
    with pytest.raises(ValueError, match="leave band 0 empty"):
        log_mel(noise(), Mel(rate=8000, window=64, hop=16, bands=80))
    with pytest.raises(ValueError, match="expected 0 <= low < high <= 4000"):
        Mel(rate=8000, window=64, hop=16, high=5000.0).filters()
    with pytest.raises(ValueError, match="a sound of 10 samples"):
        split_frames(noise(10), 16, 4)


@pytest.mark.slow
def test_phases_are_found_that_give_the_magnitudes():
    transform = Transform(64, 16)
    seconds = np.arange(1200) / 4000
    sound = jnp.asarray(np.sin(2 * np.pi * (400 + 300 * seconds) * seconds), jnp.float32)[None]
    magnitudes = jnp.abs(stft(sound, transform))

    def error(iterations):
        found = griffin_lim(magnitudes, transform, 1200, jax.random.key(0), iterations)
        wrong = jnp.abs(stft(found, transform)) - magnitudes
        return float(jnp.linalg.norm(wrong) / jnp.linalg.norm(magnitudes))

    assert error(60) < 0.1 < 0.25 < error(1)
    quiet = griffin_lim(jnp.zeros_like(magnitudes), transform, 1200, iterations=2)
    assert not np.asarray(quiet).any()


@pytest.mark.slow
def test_magnitudes_have_the_sums_of_their_filters():
    mel = Mel(rate=8000, window=256, hop=64, bands=20, log="none")
    values = log_mel(noise(), mel)
    found = magnitudes_of_mel(values, mel, 300)
    again = jnp.square(found) @ mel.filters()
    assert (np.asarray(found) >= 0).all()
    np.testing.assert_allclose(again, values, rtol=0.05)
