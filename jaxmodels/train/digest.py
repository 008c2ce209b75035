"""Checksums of arrays: 64 bits of each, computed where it lies and the same on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

from jaxmodels.protocol import PyTree
from jaxmodels.train.layout import on_host

_GOLDEN = np.uint32(0x9E3779B9)


@jax.jit
def digest_leaves(tree: PyTree) -> list[UInt32[Array, "2"]]:
    """Computes the checksum of every leaf, in the order of `jax.tree.leaves`.

    Each word of 32 bits, with its position added, is mixed by the finaliser of MurmurHash3, which
    is a bijection, and the result is mixed again. The checksum is the sum over the words after the
    first mixing, and that after the second. So it changes whenever a single word does, and it does
    not depend on how an array is divided.
    """
    return [_digest(leaf) for leaf in jax.tree.leaves(tree)]


@jax.jit
def digest_tree(tree: PyTree) -> UInt32[Array, "2"]:
    """Computes one checksum of a whole tree."""
    return _digest(jnp.stack(digest_leaves(tree)))


def written(digest: UInt32[Array, "2"] | UInt32[np.ndarray, "2"]) -> str:
    """Writes a checksum as 16 hexadecimal digits."""
    return "".join(f"{word:08x}" for word in np.asarray(digest).tolist())


def digests_by_name(tree: PyTree) -> dict[str, str]:
    """Computes the written checksum of every leaf by its name, as "state.params.Dense_0.kernel"."""
    digests = on_host(digest_leaves(tree))
    return dict(zip(names_of_leaves(tree), map(written, digests), strict=True))


def names_of_leaves(tree: PyTree) -> list[str]:
    """Names the leaves of a tree by their paths, in the order of `jax.tree.leaves`."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]


# Compiled by itself, so that leaves of one shape are traced once.
@jax.jit
def _digest(leaf: Array) -> UInt32[Array, "2"]:
    words = _words(leaf)
    mixed = _mix(words + _positions(words.shape) * _GOLDEN)
    return jnp.stack([jnp.sum(words, dtype=jnp.uint32) for words in (mixed, _mix(mixed))])


def _words(leaf: Array) -> UInt32[Array, "..."]:
    """Returns the bits of an array as words of 32 bits; narrower numbers have a word each."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack([leaf.real, leaf.imag], axis=-1)
    if leaf.dtype == bool:
        return leaf.astype(jnp.uint32)
    bits = 8 * leaf.dtype.itemsize
    if bits >= 32:
        return jax.lax.bitcast_convert_type(leaf, jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, f"uint{bits}").astype(jnp.uint32)


def _positions(shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Returns the position of each element in row-major order, modulo 2^32. It reshapes nothing,
    because a reshape to one axis would gather a divided array."""
    positions = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = np.uint32(int(np.prod(shape[axis + 1 :], dtype=np.int64)) % 2**32)
        positions += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
    return positions


def _mix(words: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    words = (words ^ (words >> 16)) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * np.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
