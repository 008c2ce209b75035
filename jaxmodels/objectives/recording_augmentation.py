"""The flags of augmentation of recordings of different lengths, and the function that augments a
batch of them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.objectives.sound_augmentation import (
    SoundAugmentationConfig,
    make_sound_augmentation,
)
from jaxmodels.ops.spectral import Transform, as_float
from jaxmodels.protocol import Batch, example_keys

_TEMPO = 100  # folded into its keys; no change of `sound_augmentation` has this number


@dataclass(frozen=True, kw_only=True)
class RecordingAugmentationConfig:
    """Random changes of training recordings, in this order."""

    tempo: float = 0.0
    """Play at a speed up to this share faster or slower, with the pitch, as far as the row has room
    for it; 0: never."""
    gain: float = 0.0
    """Make up to so many dB louder or softer; 0: never."""
    noise: float = 0.0
    """Share of the recordings that get noise, from a rumble to a hiss."""
    noise_ratio: tuple[float, float] = (5.0, 40.0)
    """Least and most dB by which a recording is above its noise."""
    time_masks: tuple[int, int] = (0, 0)
    """SpecAugment: how many stretches of frames are hidden, and how wide they are at most."""
    band_masks: tuple[int, int] = (0, 0)
    """SpecAugment: how many stretches of bands are hidden, and how wide they are at most."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        if not 0 <= self.tempo <= 0.5:
            raise InputError(f"tempo = {self.tempo}; expected 0 to 0.5")
        self._others().validate()

    def _others(self) -> SoundAugmentationConfig:
        return SoundAugmentationConfig(
            gain=self.gain,
            noise=self.noise,
            noise_ratio=self.noise_ratio,
            time_masks=self.time_masks,
            band_masks=self.band_masks,
        )


def make_recording_augmentation(
    config: RecordingAugmentationConfig, samples: int, frames: int, bands: int, transform: Transform
) -> Change | None:
    """Makes the function that augments stored batches; None if the config changes nothing.

    The function takes a batch {"sound": Num[batch samples], "length": Int[batch], ...} and a key.
    See `make_sound_augmentation`.
    """
    others = make_sound_augmentation(config._others(), samples, frames, bands, transform)
    if not config.tempo and others is None:
        return None

    def augment(batch: Batch, key: Key[Array, ""]) -> Batch:
        batch = {**batch, "begin": jnp.zeros_like(batch["length"])}
        if config.tempo:
            batch = at_other_speeds(batch, key)
        return batch if others is None else others(batch, key)

    def at_other_speeds(batch: Batch, key: Key[Array, ""]) -> Batch:
        positions = batch.get("position", across.positions(len(batch["sound"])))
        keys = example_keys(jax.random.fold_in(key, _TEMPO), positions)
        low, high = 1 - config.tempo, 1 + config.tempo
        speeds = jax.vmap(lambda key: jax.random.uniform(key, (), minval=low, maxval=high))(keys)
        sound, length = at_speed(as_float(batch["sound"]), batch["length"], speeds)
        return {**batch, "sound": sound, "length": length}

    return augment


def at_speed(
    sounds: Float[Array, "batch samples"],
    lengths: Int[Array, " batch"],
    speeds: Float[Array, " batch"],
) -> tuple[Float[Array, "batch samples"], Int[Array, " batch"]]:
    """Plays recordings from their start at speeds, between samples in a straight line (Ko et al.
    2015), and gives their new lengths. A slower one is no longer than its row."""
    samples = sounds.shape[1]
    speeds = jnp.maximum(speeds, lengths / samples)
    places = jnp.arange(samples) * speeds[:, None]
    before = jnp.minimum(places.astype(jnp.int32), samples - 2)
    share = jnp.clip(places - before, 0, 1)
    pairs = jnp.stack([sounds[:, :-1], sounds[:, 1:]], -1)
    found = jax.vmap(lambda row, at: row.at[at].get(mode="promise_in_bounds"))(pairs, before)
    after = jnp.ceil(lengths / speeds).astype(jnp.int32)
    played = found[..., 0] * (1 - share) + found[..., 1] * share
    return jnp.where(jnp.arange(samples) < after[:, None], played, 0), jnp.minimum(after, samples)
