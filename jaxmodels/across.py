"""What spans devices: the same functions under jit, where a batch is global, and under pmap, where
each device sees its part of one and the named axis joins them.

Objectives call them on gradients, BatchNorm on its statistics, without knowing which runs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from jaxmodels.protocol import DATA_AXIS, PyTree


def _is_mapped() -> bool:
    try:
        jax.lax.axis_index(DATA_AXIS)
    except NameError:
        return False
    return True


def average(tree: PyTree) -> PyTree:
    """The mean over devices of each leaf; under jit the leaves, which are global already."""
    return jax.lax.pmean(tree, DATA_AXIS) if _is_mapped() else tree


def total(tree: PyTree) -> PyTree:
    """The sum over devices of each leaf; under jit the leaves, which are global already."""
    return jax.lax.psum(tree, DATA_AXIS) if _is_mapped() else tree


def gather(tree: PyTree) -> PyTree:
    """Along the first axis the examples of all devices, for what compares the examples of a batch;
    under jit the batch has them already. Gradients flow to where each example came from."""
    return jax.lax.all_gather(tree, DATA_AXIS, tiled=True) if _is_mapped() else tree


def take(values: Num[Array, "local ..."], rows: Int[Array, " count"]) -> Num[Array, "count ..."]:
    """These rows, which are alike on all devices, of the values of all devices."""
    if not _is_mapped():
        return values[rows]
    local = rows - first_position(len(values))
    mine = (local >= 0) & (local < len(values))
    found = values[jnp.where(mine, local, 0)]
    mine = mine.reshape(-1, *[1] * (values.ndim - 1))
    return jax.lax.psum(jnp.where(mine, found, 0), DATA_AXIS)


def global_count(count: int) -> int:
    """How many examples all devices have, of which this one has `count`."""
    return jax.lax.axis_size(DATA_AXIS) * count if _is_mapped() else count


def first_position(count: int) -> Int[Array, ""] | int:
    """The position in the global batch of the first of this device's `count` examples."""
    return jax.lax.axis_index(DATA_AXIS) * count if _is_mapped() else 0


def positions(count: int) -> Int[Array, " count"]:
    """The positions in the global batch of this device's `count` examples."""
    return first_position(count) + jnp.arange(count)


def rotate(values: Num[Array, "local ..."]) -> Num[Array, "local ..."]:
    """Of each example the one before it in the *global* batch, of the first the last: a roll by
    one. Under pmap only the last example of each device travels, to the next."""
    rolled = jnp.roll(values, 1, axis=0)
    if not _is_mapped():
        return rolled
    devices = jax.lax.axis_size(DATA_AXIS)
    ring = [(device, (device + 1) % devices) for device in range(devices)]
    first = jax.lax.ppermute(values[-1:], DATA_AXIS, ring)
    return jnp.concatenate([first, values[:-1]])
