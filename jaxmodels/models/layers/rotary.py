"""Rotary positions (Su et al. 2021, RoFormer)."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def rotary_angles(
    positions: Int[Array, "*batch length"], rotated: int, base: float = 10_000.0
) -> Float[Array, "*batch length pairs"]:
    """Computes the angle of each pair of numbers at each position: position * base^(-2i / rotated)
    for pair i (Su et al. 2021, section 3.2.2), in float32.

    rotated: how many numbers of a head are rotated; even.
    """
    pairs = rotated // 2
    exponents = jnp.arange(pairs, dtype=jnp.float32) / max(pairs, 1)
    return positions[..., None].astype(jnp.float32) * base**-exponents


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
