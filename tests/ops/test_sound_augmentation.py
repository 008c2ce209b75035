"""Augmentation of sounds against what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops.augmentation.sounds import (
    Masks,
    Placed,
    change_speed,
    hide,
    random_gain,
    random_masks,
    random_noise,
    random_shift,
    shift,
    white_noise,
)
from tests.ops.compiling import quick_jit


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def whole(sounds):
    """Sounds that fill their rows."""
    count, samples = sounds.shape
    return Placed(sounds, jnp.zeros(count, jnp.int32), jnp.full(count, samples, jnp.int32))


def test_a_shift_moves_and_fills_with_silence():
    sounds = jnp.arange(1.0, 13).reshape(2, 6)
    found = shift(sounds, jnp.array([2, -1]), 3)
    np.testing.assert_array_equal(found, [[0, 0, 1, 2, 3, 4], [8, 9, 10, 11, 12, 0]])
    pulse = jnp.zeros((200, 9)).at[:, 4].set(1)
    places = np.asarray(random_shift(whole(pulse), keys(200), 2).sounds).argmax(1)
    assert set(places.tolist()) == {2, 3, 4, 5, 6}


def test_speed_changes_pitch_and_duration_about_the_middle():
    seconds = np.arange(4000) / 4000
    tone = jnp.asarray(np.sin(2 * np.pi * 200 * seconds), jnp.float32)
    sounds = jnp.where(jnp.abs(jnp.arange(4000) - 2000) < 1000, tone, 0)[None]
    found = np.asarray(change_speed(jnp.repeat(sounds, 3, 0), jnp.array([1.0, 1.25, 0.8])))
    np.testing.assert_allclose(found[0], sounds[0], atol=1e-4)
    for row, speed in ((1, 1.25), (2, 0.8)):
        spectrum = np.abs(np.fft.rfft(found[row]))
        assert abs(int(spectrum.argmax()) - 200 * speed) <= 1
        length = np.ptp(np.flatnonzero(np.abs(found[row]) > 0.01))
        assert abs(length - 2000 / speed) < 20


@pytest.mark.slow
def test_noise_has_the_ratio_that_was_drawn_and_gain_the_level():
    noise = np.asarray(white_noise(keys(4), 10_000))
    np.testing.assert_allclose(noise.mean(1), 0, atol=0.05)
    np.testing.assert_allclose(noise.var(1), 1, atol=0.05)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05
    sounds = jnp.asarray(np.sin(np.arange(10_000) / 3)[None].repeat(50, 0), jnp.float32)

    def noisy(share):
        def add(keys):
            return random_noise(whole(sounds), keys, 20.0, 10.0, share).sounds

        return quick_jit(add)(keys(50))

    added = np.asarray(noisy(1.0) - sounds)
    ratios = 10 * np.log10(0.5 / added.var(1))
    assert 9 < ratios.min() < 12 and 18 < ratios.max() < 21
    some = np.asarray(noisy(0.5) - sounds).any(1)
    assert 15 < some.sum() < 35
    louder = 20 * np.log10(np.abs(random_gain(whole(sounds), keys(50), 6.0).sounds).max(1))
    assert -6.01 < louder.min() < -4 and 4 < louder.max() < 6.01


@pytest.mark.slow
def test_masks_are_stretches_of_at_most_their_width():
    hidden = np.asarray(random_masks(keys(300), jnp.ones((300, 50)), 40, Masks(1, 10, 1, 5)))
    frames, bands = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert frames.max() == 10 and bands.max() == 5 and frames.min() == bands.min() == 0
    edges = np.diff(hidden.all(2).astype(int), axis=1, prepend=0, append=0)
    assert (edges == 1).sum(1).max() == 1
    values = jnp.arange(300.0 * 50 * 40).reshape(300, 50, 40)
    found = np.asarray(hide(values, jnp.asarray(hidden), jnp.ones((300, 50))))
    np.testing.assert_array_equal(found[~hidden], np.asarray(values)[~hidden])
    np.testing.assert_allclose(found[0][hidden[0]], np.mean(values[0]), rtol=1e-6)
    assert not np.asarray(random_masks(keys(2), jnp.ones((2, 9)), 4, Masks(0, 5, 2, 0))).any()


@pytest.mark.slow
def test_what_fills_a_row_up_alters_neither_noise_nor_masks():
    sounds = jnp.asarray(np.sin(np.arange(1000) / 3)[None].repeat(40, 0), jnp.float32)
    places = jnp.full(40, 1500, jnp.int32), jnp.full(40, 2500, jnp.int32)
    placed = Placed(jnp.pad(sounds, ((0, 0), (1500, 1500))), *places)
    added = random_noise(placed, keys(40), 20.0, 10.0).sounds - placed.sounds
    ratios = 10 * np.log10(0.5 / np.asarray(added).var(1))
    assert 9 < ratios.min() < 13 and 17 < ratios.max() < 21
    inside = jnp.zeros((300, 50)).at[:, 20:28].set(1)
    hidden = np.asarray(random_masks(keys(300), inside, 4, Masks(1, 20, 0, 0)))
    assert not hidden[:, :20].any() and not hidden[:, 28:].any()
    assert set(hidden[..., 0].sum(1).tolist()) == set(range(9)) and hidden[:, [20, 27]].any(0).all()
    values = jnp.arange(300.0 * 50 * 4).reshape(300, 50, 4)
    found = np.asarray(hide(values, jnp.asarray(hidden), inside))
    expected = np.asarray(values[:, 20:28]).mean((1, 2))
    for row in np.flatnonzero(hidden.any((1, 2))):
        np.testing.assert_allclose(found[row][hidden[row]], expected[row], rtol=1e-5)
