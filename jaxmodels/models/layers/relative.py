"""Relative positions as a bias of attention scores (Raffel et al. 2020, T5, section 2.1)."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def relative_buckets(
    behind: Int[Array, "*shape"], *, buckets: int, most: int, both_sides: bool
) -> Int[Array, "*shape"]:
    """Numbers distances by buckets: half of them are of one distance each, the others grow
    logarithmically up to `most`, and all that is farther is in the last.

    behind: the place of the query less that of the key.
    both_sides: keys after the query have the upper half of the buckets; otherwise they are in the
      first.
    """
    buckets = buckets // 2 if both_sides else buckets
    offset = jnp.where(behind < 0, buckets, 0) if both_sides else 0
    distance = jnp.abs(behind) if both_sides else jnp.maximum(behind, 0)
    exact = buckets // 2
    far = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) / math.log(most / exact)
    far = exact + (far * (buckets - exact)).astype(jnp.int32)
    return offset + jnp.where(distance < exact, distance, jnp.minimum(far, buckets - 1))


def relative_bias(
    table: Float[Array, "buckets heads"],
    queries: Int[Array, "rows queries"],
    keys: Int[Array, " keys"],
    *,
    most: int,
    both_sides: bool,
) -> Float[Array, "rows heads queries keys"]:
    """Gives the bias of each head for queries and keys at these places.

    most, both_sides: as in `relative_buckets`.
    """
    behind = queries[:, :, None] - keys
    numbers = relative_buckets(behind, buckets=len(table), most=most, both_sides=both_sides)
    return jnp.moveaxis(jnp.take(table, numbers, axis=0), -1, 1)
