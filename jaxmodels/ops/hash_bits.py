"""Random bits by hashing a counter: far cheaper than threefry where the bits are the cost."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxmodels.protocol import example_keys

_GOLDEN = 0x9E3779B9  # 2^32 / golden ratio: spreads neighbouring numbers over all bits
_FLOAT_STEPS = 2.0**32


def example_seeds(key: Key[Array, ""], positions: Int[Array, " batch"]) -> UInt32[Array, "batch 2"]:
    """Makes the seeds of each example's bits from its *global* position (`across.positions`), so
    that they do not depend on the number of devices."""
    data = jax.random.key_data(example_keys(key, positions))
    return data.reshape(len(positions), -1)[:, :2].astype(jnp.uint32)


def seeds_for(
    seeds: UInt32[Array, "batch 2"], use: int | Int[Array, ""]
) -> UInt32[Array, "batch 2"]:
    """Makes the seeds of one of several uses (layers, places) of the same examples."""
    offset = jnp.asarray(use).astype(jnp.uint32) * jnp.uint32(_GOLDEN)
    first, second = seeds[:, 0], seeds[:, 1]
    # Each word depends on both, so that two uses share no sequence of bits.
    first = _mixed(first + offset, second)
    return jnp.stack([first, _mixed(second ^ offset, first)], axis=1)


def hash_bits(
    seeds: UInt32[Array, "batch 2"], shape: tuple[int, ...]
) -> UInt32[Array, "batch ..."]:
    """Makes 32 random bits for each number of an array [batch, *shape].

    They are a hash of the example's seeds and of the place of the number in the example. The hash
    has three rounds of multiplication and shift, with the constants of Wellons's triple32 ("Hash
    function prospector", 2018), which have nearly no bias; the second seed enters after the first
    round, so that two examples share no sequence. It is no generator for cryptography.
    """
    size = 1
    for side in shape:
        size *= side
    counter = jnp.arange(size, dtype=jnp.uint32).reshape(1, *shape)
    ones = (1,) * len(shape)
    first, second = (seeds[:, n].reshape(-1, *ones) for n in (0, 1))
    return _mixed(counter ^ first, second)


def hash_dropout(
    x: Float[Array, "batch ..."],
    rate: Float[Array, ""] | float,
    seeds: UInt32[Array, "batch 2"],
) -> Float[Array, "batch ..."]:
    """Sets numbers to zero with probability `rate` and divides the others by 1 - rate (Srivastava
    et al. 2014). A number is kept if its bits are at least rate * 2^32, so that the probability is
    exact to 2^-24 or better."""
    bits = hash_bits(seeds, x.shape[1:])
    # A rate of 1 has no integer of 32 bits; it drops all but one number in 2^32 / 256.
    least = jnp.minimum(jnp.asarray(rate, jnp.float32) * _FLOAT_STEPS, _FLOAT_STEPS - 256)
    scale = (1 / (1 - jnp.asarray(rate, jnp.float32))).astype(x.dtype)
    return jnp.where(bits >= least.astype(jnp.uint32), x * scale, 0).astype(x.dtype)


def _mixed(x: UInt32[Array, "..."], word: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Hashes x, with a second word that enters after the first round."""
    x = ((x ^ (x >> 17)) * jnp.uint32(0xED5AD4BB)) ^ word
    x = (x ^ (x >> 11)) * jnp.uint32(0xAC4C1B51)
    x = (x ^ (x >> 15)) * jnp.uint32(0x31848BAB)
    return x ^ (x >> 14)
