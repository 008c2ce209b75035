"""Distances between spectra of sounds, one number for each sound."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmodels.ops.spectral import Mel, Transform, frame_mask, log_mel, power_spectrum, stft

_LEAST = 1e-7  # power, below which a logarithm is that of it


def mel_distances(
    one: Float[Array, "batch samples"],
    other: Float[Array, "batch samples"],
    length: Int[Array, " batch"],
    mel: Mel,
) -> Float[Array, " batch"]:
    """Computes the mean absolute difference of two mel spectrograms, over the frames of a sound of
    `length` samples and all bands, in the unit of `mel.log`."""
    difference = jnp.mean(jnp.abs(log_mel(one, mel) - log_mel(other, mel)), axis=-1)
    inside = frame_mask(length, difference.shape[1], mel.transform)
    return jnp.sum(difference * inside, axis=1) / jnp.sum(inside, axis=1)


def stft_distances(
    one: Float[Array, "batch samples"],
    other: Float[Array, "batch samples"],
    length: Int[Array, " batch"],
    transforms: Sequence[Transform],
) -> Float[Array, " batch"]:
    """Computes the multi-resolution STFT distance (Yamamoto et al. 2020, equations 4 to 6) from a
    sound, `one`: the spectral convergence ||S - T|| / ||S|| of magnitudes plus the mean absolute
    difference of their logarithms, over the frames of a sound of `length` samples; the mean over
    transforms. Powers are at least 1e-7.
    """
    total = jnp.zeros(len(one))
    for transform in transforms:
        magnitudes = [
            jnp.sqrt(jnp.maximum(power_spectrum(stft(each, transform)), _LEAST))
            for each in (one, other)
        ]
        inside = frame_mask(length, magnitudes[0].shape[1], transform)[..., None]
        squares = jnp.square(magnitudes[0] - magnitudes[1]) * inside
        whole = jnp.sum(jnp.square(magnitudes[0]) * inside, axis=(1, 2))
        share = jnp.sum(squares, axis=(1, 2)) / whole
        is_zero = share == 0  # where the gradient of a root is not finite
        convergence = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, share)))
        logarithms = jnp.abs(jnp.log(magnitudes[0]) - jnp.log(magnitudes[1])) * inside
        count = jnp.sum(inside, axis=(1, 2)) * logarithms.shape[2]
        total += convergence + jnp.sum(logarithms, axis=(1, 2)) / count
    return total / len(transforms)


def resolutions_of(transform: Transform) -> tuple[Transform, ...]:
    """Returns transforms of half, the same and double frame, each moved by a quarter of it."""
    sizes = (transform.samples // 2, transform.samples, transform.samples * 2)
    return tuple(Transform(size, size // 4) for size in sizes)
