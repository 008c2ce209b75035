"""The flags of augmentation of sounds, and the function that augments a batch of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
from jaxtyping import Array, Int, Key

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.ops.augmentation import sounds
from jaxmodels.ops.spectral import Transform, as_float, frame_mask
from jaxmodels.protocol import Batch, example_keys

# The number of a change is folded into its keys, so that no flag alters the draws of another.
_SPEED, _SHIFT, _GAIN, _NOISE, _MASK = range(5)


@dataclass(frozen=True, kw_only=True)
class SoundAugmentationConfig:
    """Random changes of training sounds, in this order."""

    speed: float = 0.0
    """Play at a speed up to this share faster or slower, with the pitch; 0: never."""
    shift: float = 0.0
    """Move by up to this share of a row, either way; 0: never."""
    gain: float = 0.0
    """Make up to so many dB louder or softer; 0: never."""
    noise: float = 0.0
    """Share of the sounds that get noise, from a rumble to a hiss."""
    noise_ratio: tuple[float, float] = (5.0, 40.0)
    """Least and most dB by which a sound is above its noise."""
    time_masks: tuple[int, int] = (0, 0)
    """SpecAugment: how many stretches of frames are hidden, and how wide they are at most."""
    band_masks: tuple[int, int] = (0, 0)
    """SpecAugment: how many stretches of bands are hidden, and how wide they are at most."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        for name, most in (("speed", 0.5), ("shift", 1), ("gain", 60), ("noise", 1)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise InputError(f"{name} = {value}; expected 0 to {most}")
        low, high = self.noise_ratio
        if not (low <= high and math.isfinite(low) and math.isfinite(high)):
            raise InputError(f"noise_ratio = {low:g} {high:g}; expected dB, LEAST <= MOST")
        for name in ("time_masks", "band_masks"):
            if min(getattr(self, name)) < 0:
                raise InputError(f"{name} = {getattr(self, name)}; expected a count and a width")


def make_sound_augmentation(
    config: SoundAugmentationConfig, samples: int, frames: int, bands: int, transform: Transform
) -> Change | None:
    """Makes the function that augments stored batches; None if the config changes nothing.

    The function takes a batch {"sound": Num[batch samples], "length": Int[batch], ...} and a key.
    Its sounds are floats; "begin" and "length" tell where they are in their rows afterwards. With
    masks, it adds "hidden", Bool[batch frames bands], what is to be hidden of spectrograms of a
    transform.
    Draws depend on the key and on an example's position in the global batch, not on the number of
    devices.
    """
    changes = _changes(config, samples)
    masks = sounds.Masks(*config.time_masks, *config.band_masks)
    hides = bool(masks.times * masks.frames + masks.frequencies * masks.bands)
    if not changes and not hides:
        return None

    def augment(batch: Batch, key: Key[Array, ""]) -> Batch:
        positions = batch.get("position", across.positions(len(batch["sound"])))

        def keys(number):
            return example_keys(jax.random.fold_in(key, number), positions)

        begin = begins(batch)
        placed = sounds.Placed(as_float(batch["sound"]), begin, begin + batch["length"])
        for number, change in changes.items():
            placed = change(placed, keys(number))
        length = placed.end - placed.begin
        batch = {**batch, "sound": placed.sounds, "begin": placed.begin, "length": length}
        if hides:
            inside = frame_mask(length, frames, transform, placed.begin)
            batch["hidden"] = sounds.random_masks(keys(_MASK), inside, bands, masks)
        return batch

    return augment


def begins(batch: Batch) -> Int[Array, " batch"]:
    """Tells at which sample of its row each sound begins: "begin"; without it, sounds stand in the
    middle, as `data.audio` puts them there."""
    if "begin" in batch:
        return batch["begin"]
    return (batch["sound"].shape[1] - batch["length"]) // 2


def _changes(config: SoundAugmentationConfig, samples: int) -> dict[int, Callable]:
    """Lists the changes of sounds, in the order of their application."""
    changes: dict[int, Callable] = {}
    if config.speed:
        changes[_SPEED] = partial(sounds.random_speed, most=config.speed)
    if most := round(config.shift * samples):
        changes[_SHIFT] = partial(sounds.random_shift, most=most)
    if config.gain:
        changes[_GAIN] = partial(sounds.random_gain, decibels=config.gain)
    if config.noise:
        loudest, quietest = config.noise_ratio
        changes[_NOISE] = partial(
            sounds.random_noise, quietest=quietest, loudest=loudest, probability=config.noise
        )
    return changes
