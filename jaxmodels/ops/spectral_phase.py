"""Sounds from magnitudes: the phases that Griffin and Lim's iteration finds, and the magnitudes
behind a mel spectrogram."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmodels.ops.spectral import Mel, Transform, inverse_stft, stft

_TINY = 1e-20  # a phase of nothing is 0


def griffin_lim(
    magnitudes: Float[Array, "batch frames frequencies"],
    transform: Transform,
    samples: int,
    key: Key[Array, ""] | None = None,
    iterations: int = 60,
    momentum: float = 0.99,
) -> Float[Array, "batch samples"]:
    """Finds sounds whose transforms have these magnitudes, nearly (Perraudin et al. 2013, the fast
    form of Griffin & Lim 1984), with the values of `librosa.griffinlim`.

    key: draws the phases at the start; None: they are 0.
    """
    if key is None:
        start = jnp.ones(magnitudes.shape, jnp.complex64)
    else:
        angles = jax.random.uniform(key, magnitudes.shape, maxval=2 * jnp.pi)
        start = jax.lax.complex(jnp.cos(angles), jnp.sin(angles))
    share = momentum / (1 + momentum)

    def improve(_, carried):
        phases, before = carried
        rebuilt = stft(inverse_stft(magnitudes * phases, transform, samples), transform)
        moved = rebuilt - share * before
        return moved / (jnp.abs(moved) + _TINY), rebuilt

    nothing = jnp.zeros_like(start)
    phases, _ = jax.lax.fori_loop(0, iterations, improve, (start, nothing))
    return inverse_stft(magnitudes * phases, transform, samples)


def magnitudes_of_mel(
    values: Float[Array, "batch frames bands"], mel: Mel, iterations: int = 100
) -> Float[Array, "batch frames frequencies"]:
    """Finds magnitudes, none below 0, whose sums by the mel filters are nearest to `values`, those
    of `mel_spectrum`, in squares: by multiplicative updates (Lee & Seung 2001, theorem 1)."""
    filters = jnp.asarray(mel.filters())
    target, square = values @ filters.T, filters @ filters.T
    total = jnp.sum(values, axis=-1, keepdims=True) / jnp.sum(filters)
    start = jnp.broadcast_to(total, target.shape)

    def improve(_, powers):
        return powers * target / jnp.maximum(powers @ square, _TINY)

    powers = jax.lax.fori_loop(0, iterations, improve, start)
    return powers if mel.power == 1 else jnp.sqrt(powers)


def griffin_lim_of_mel(
    features: Float[Array, "batch frames bands"], mel: Mel, samples: int, iterations: int = 60
) -> Float[Array, "batch samples"]:
    """Finds sounds, within -1..1, of natural logarithms of mel powers, those of `log_mel`."""
    powers = jnp.maximum(jnp.exp(features) - mel.floor, 0)
    magnitudes = magnitudes_of_mel(powers, mel)
    sound = griffin_lim(magnitudes, mel.transform, samples, iterations=iterations)
    return jnp.clip(sound, -1, 1)
