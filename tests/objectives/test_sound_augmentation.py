"""Augmentation of batches of sounds by flags."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.objectives.recording_augmentation import (
    RecordingAugmentationConfig,
    make_recording_augmentation,
)
from jaxmodels.objectives.sound_augmentation import (
    SoundAugmentationConfig,
    make_sound_augmentation,
)
from jaxmodels.ops.spectral import Transform
from tests.ops.compiling import quick_jit

ALL = {"speed": 0.1, "shift": 0.1, "gain": 6.0, "noise": 0.5}
MASKS = {"time_masks": (1, 3), "band_masks": (1, 2)}
# Numbers of samples, frames and bands, and what makes frames of samples.
SIZES = 100, 11, 8, Transform(20, 10)


def batch(rows):
    generator = np.random.default_rng(0)
    sounds = generator.normal(0, 3000, (8, 100)).astype(np.int16)
    length = jnp.full(len(rows), 100, jnp.int32)
    return {"sound": jnp.asarray(sounds[rows]), "length": length, "position": jnp.asarray(rows)}


def test_draws_depend_on_the_place_in_the_batch_alone():
    augment = make_sound_augmentation(SoundAugmentationConfig(**ALL, **MASKS), *SIZES)
    augment = quick_jit(augment)
    key = jax.random.key(0)
    whole = augment(batch(np.arange(8)), key)
    part = augment(batch(np.arange(4, 8)), key)
    for name in ("sound", "hidden"):
        np.testing.assert_allclose(whole[name][4:], part[name], atol=1e-6)
    other = augment(batch(np.arange(8)), jax.random.key(1))
    assert not np.allclose(whole["sound"], other["sound"])
    assert whole["sound"].dtype == jnp.float32 and whole["hidden"].shape == (8, 11, 8)


def test_a_flag_does_not_alter_the_draws_of_another():
    some, more = (
        quick_jit(make_sound_augmentation(SoundAugmentationConfig(shift=0.1, gain=gain), *SIZES))(
            batch(np.arange(8)), jax.random.key(0)
        )["sound"]
        for gain in (0.0, 6.0)
    )
    np.testing.assert_array_equal(np.asarray(some) == 0, np.asarray(more) == 0)


def test_what_moves_sounds_tells_where_they_are_then():
    config = SoundAugmentationConfig(speed=0.3, shift=0.5, gain=6.0)
    augment = quick_jit(make_sound_augmentation(config, *SIZES))
    length = jnp.array([40, 61, 100] * 8, jnp.int32)
    begin = (100 - length[:, None]) // 2
    there = (jnp.arange(100) >= begin) & (jnp.arange(100) < begin + length[:, None])
    after = augment({"sound": there.astype(jnp.float32), "length": length}, jax.random.key(0))
    for row, first, count in zip(*(np.asarray(after[n]) for n in ("sound", "begin", "length"))):
        heard = np.flatnonzero(row)
        # Between samples, a line leads from silence to a sound.
        assert first <= heard.min() + 2 and heard.max() - 2 <= first + count - 1
        assert len(heard) - 4 <= count <= len(heard)
    assert after["begin"].min() == 0 and len(set(after["length"].tolist())) > 12


def test_recordings_begin_with_their_rows():
    config = RecordingAugmentationConfig(time_masks=(1, 20))
    augment = make_recording_augmentation(config, *SIZES)
    given = {"sound": jnp.ones((30, 100)), "length": jnp.full(30, 35, jnp.int32)}
    hidden = np.asarray(quick_jit(augment)(given, jax.random.key(0))["hidden"])
    assert hidden[:, :4].any((0, 2)).all() and not hidden[:, 4:].any()
    assert make_recording_augmentation(RecordingAugmentationConfig(), *SIZES) is None


def test_nothing_is_made_of_no_flags_and_impossible_ones_are_refused():
    assert make_sound_augmentation(SoundAugmentationConfig(), *SIZES) is None
    for flags in (
        {"speed": 0.6},
        {"noise": -1.0},
        {"noise_ratio": (9.0, 1.0)},
        {"time_masks": (-1, 2)},
    ):
        with pytest.raises(InputError, match=next(iter(flags))):
            SoundAugmentationConfig(**flags).validate()
