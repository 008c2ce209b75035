"""Augmentation of sounds and spectrograms, inside the compiled step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmodels.ops.hash_bits import hash_bits
from jaxmodels.ops.spectral import mean_inside

Sounds = Float[Array, "batch samples"]
Keys = Key[Array, " batch"]


class Placed(NamedTuple):
    """Sounds in their rows: each is what lies from sample `begin` to before sample `end`."""

    sounds: Sounds
    begin: Int[Array, " batch"]
    end: Int[Array, " batch"]


def shift(sounds: Sounds, offsets: Int[Array, " batch"], most: int) -> Sounds:
    """Delays each sound by some samples, at most so many either way; what enters is silence."""
    padded = jnp.pad(sounds, ((0, 0), (most, most)))
    size = sounds.shape[1:]
    return jax.vmap(lambda row, offset: jax.lax.dynamic_slice(row, (most - offset,), size))(
        padded, offsets
    )


def random_shift(placed: Placed, keys: Keys, most: int) -> Placed:
    """Delays each sound by up to `most` samples either way, with equal chances."""
    offsets = jax.vmap(lambda key: jax.random.randint(key, (), -most, most + 1))(keys)
    sounds = shift(placed.sounds, offsets, most)
    return _within(sounds, placed.begin + offsets, placed.end + offsets)


def change_speed(sounds: Sounds, speeds: Float[Array, " batch"]) -> Sounds:
    """Plays each sound at a speed, about the middle of the row, between samples in a straight line;
    pitch and duration change together (Ko et al. 2015)."""
    samples = sounds.shape[1]
    middle = (samples - 1) / 2
    places = (jnp.arange(samples) - middle) * speeds[:, None] + middle
    inside = (places >= 0) & (places <= samples - 1)
    places = jnp.clip(places, 0, samples - 1)
    before = jnp.minimum(places.astype(jnp.int32), samples - 2)
    share = places - before
    pairs = jnp.stack([sounds[:, :-1], sounds[:, 1:]], -1)
    found = jax.vmap(lambda row, at: row.at[at].get(mode="promise_in_bounds"))(pairs, before)
    return jnp.where(inside, found[..., 0] * (1 - share) + found[..., 1] * share, 0)


def random_speed(placed: Placed, keys: Keys, most: float) -> Placed:
    """Plays each sound at a speed between 1 - most and 1 + most."""
    draw = jax.vmap(lambda key: jax.random.uniform(key, (), minval=1 - most, maxval=1 + most))
    speeds = draw(keys)
    middle = (placed.sounds.shape[1] - 1) / 2
    first = jnp.ceil((placed.begin - middle) / speeds + middle).astype(jnp.int32)
    last = jnp.floor((placed.end - 1 - middle) / speeds + middle).astype(jnp.int32)
    return _within(change_speed(placed.sounds, speeds), first, last + 1)


def _within(sounds: Sounds, begin: Int[Array, " batch"], end: Int[Array, " batch"]) -> Placed:
    """Leaves out what lies outside of the rows."""
    samples = sounds.shape[1]
    return Placed(sounds, jnp.clip(begin, 0, samples), jnp.clip(end, 0, samples))


def random_gain(placed: Placed, keys: Keys, decibels: float) -> Placed:
    """Makes each sound up to so many decibels louder or softer."""
    draw = jax.vmap(lambda key: jax.random.uniform(key, (), minval=-decibels, maxval=decibels))
    return placed._replace(sounds=placed.sounds * 10 ** (draw(keys) / 20)[:, None])


def random_noise(
    placed: Placed, keys: Keys, quietest: float, loudest: float, probability: float = 1.0
) -> Placed:
    """Adds coloured noise to a share of the rows, the whole of each. The power of a sound is that
    of its own samples, around which there is silence.

    The colour is that of white noise plus up to 0.9 times the same noise one sample later, or minus
    it: from a rumble to a hiss.

    quietest, loudest: ratio of signal to noise in dB, between which each is drawn.
    """
    sounds, size = placed.sounds, jnp.maximum(placed.end - placed.begin, 1)
    draws = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys)
    white = white_noise(keys, sounds.shape[1] + 1)
    colour = 1.8 * draws[:, :1] - 0.9
    noise = (white[:, 1:] + colour * white[:, :-1]) * jax.lax.rsqrt(1 + jnp.square(colour))
    ratio = loudest + (quietest - loudest) * draws[:, 1]
    power = jnp.sum(jnp.square(sounds), axis=1) / size * 10 ** (-ratio / 10)
    level = jnp.where(draws[:, 2] < probability, jnp.sqrt(power), 0)
    return placed._replace(sounds=sounds + level[:, None] * noise)


def white_noise(keys: Keys, samples: int) -> Float[Array, "batch samples"]:
    """Draws white noise of mean 0 and variance 1: the sum of two uniform numbers, made of the
    halves of 32 bits that a hash makes, since normal numbers cost several times as much."""
    seeds = jax.random.key_data(keys).reshape(len(keys), -1)[:, :2].astype(jnp.uint32)
    bits = hash_bits(seeds, (samples,))
    total = (bits >> 16).astype(jnp.float32) + (bits & 0xFFFF).astype(jnp.float32)
    # The variance of a uniform integer below n is (n^2 - 1) / 12.
    return (total - 65535) * (6 / (65536.0**2 - 1)) ** 0.5


class Masks(NamedTuple):
    """How SpecAugment hides parts of a spectrogram: so many stretches, each up to so wide."""

    times: int = 2
    frames: int = 20
    frequencies: int = 2
    bands: int = 0


def random_masks(
    keys: Keys, inside: Float[Array, "batch frames"], bands: int, masks: Masks
) -> Bool[Array, "batch frames bands"]:
    """Marks what SpecAugment hides (Park et al. 2019, section 2, without the warp): stretches of
    frames and of bands, whose widths and places are uniform.

    inside: 1 for the frames of each sound, among which the stretches of frames lie.
    """

    def stretches(key, count, widest, size, first, among):
        if not (count and widest):
            return jnp.zeros(size, bool)
        draws = jax.random.uniform(key, (2, count))
        widths = jnp.floor(draws[0] * (jnp.minimum(widest, among) + 1)).astype(jnp.int32)
        starts = first + jnp.floor(draws[1] * (among - widths + 1)).astype(jnp.int32)
        at = jnp.arange(size)[:, None]
        return jnp.any((at >= starts) & (at < starts + widths), axis=1)

    def one(key, own):
        times, frequencies = jax.random.split(key)
        first, among = jnp.argmax(own), jnp.sum(own).astype(jnp.int32)
        hidden = stretches(times, masks.times, masks.frames, own.size, first, among)
        others = stretches(frequencies, masks.frequencies, masks.bands, bands, 0, bands)
        return hidden[:, None] | others

    return jax.vmap(one)(keys, inside)


def hide(
    spectrograms: Float[Array, "batch frames bands"],
    hidden: Bool[Array, "batch frames bands"],
    inside: Float[Array, "batch frames"],
) -> Float[Array, "batch frames bands"]:
    """Puts each spectrogram's mean over the frames of its sound into what is hidden."""
    return jnp.where(hidden, mean_inside(spectrograms, inside), spectrograms)
