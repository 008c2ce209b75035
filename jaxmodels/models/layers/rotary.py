"""Rotary positions (Su et al. 2021, RoFormer)."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Stretch(NamedTuple):
    """How Llama 3 stretches rotary positions to a longer context: apply_scaling of models/llama3/
    model.py at github.com/meta-llama/llama-models, the type "llama3" of transformers.

    Pairs of numbers that turn fewer than `slow` times in the first context turn `factor` times
    slower, those that turn more than `fast` times stay, and between the two the change is smooth.
    """

    factor: float
    context: int  # tokens of the context before
    slow: float = 1.0
    fast: float = 4.0

    def of(self, frequencies: Float[Array, " pairs"]) -> Float[Array, " pairs"]:
        """Computes the stretched frequencies."""
        turns = self.context * frequencies / (2 * math.pi)
        kept = jnp.clip((turns - self.slow) / (self.fast - self.slow), 0, 1)
        return frequencies * (kept + (1 - kept) / self.factor)


def rotary_angles(
    positions: Int[Array, "*batch length"],
    rotated: int,
    base: float = 10_000.0,
    stretch: Stretch | None = None,
) -> Float[Array, "*batch length pairs"]:
    """Computes the angle of each pair of numbers at each position: position * base^(-2i / rotated)
    for pair i (Su et al. 2021, section 3.2.2), in float32.

    rotated: how many numbers of a head are rotated; even.
    """
    pairs = rotated // 2
    exponents = jnp.arange(pairs, dtype=jnp.float32) / max(pairs, 1)
    frequencies = base**-exponents
    if stretch is not None:
        frequencies = stretch.of(frequencies)
    return positions[..., None].astype(jnp.float32) * frequencies


def rotate(
    x: Float[Array, "batch length heads size"], angles: Float[Array, "*rows length pairs"]
) -> Float[Array, "batch length heads size"]:
    """Rotates the first 2 * pairs numbers of each head, in float32; the others stay (GPT-NeoX,
    Black et al. 2022, section 2.1). Number i makes a pair with number i + pairs, as in GPT-NeoX and
    Llama."""
    pairs = angles.shape[-1]
    cos, sin = jnp.cos(angles)[..., None, :], jnp.sin(angles)[..., None, :]
    first, second, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    parts = [first * cos - second * sin, second * cos + first * sin]
    parts = [part.astype(x.dtype) for part in parts]
    return jnp.concatenate([*parts, rest] if rest.shape[-1] else parts, axis=-1)
