"""Operations over all devices, the same under jit, where a batch is global, and under pmap, where
each device has a part of the batch and a named axis joins the parts.

Objectives call them on gradients, BatchNorm on its statistics, without knowing which of the two is
in use.
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
    """Averages each leaf over devices; under jit the leaves are global already."""
    return jax.lax.pmean(tree, DATA_AXIS) if _is_mapped() else tree


def total(tree: PyTree) -> PyTree:
    """Sums each leaf over devices; under jit the leaves are global already."""
    return jax.lax.psum(tree, DATA_AXIS) if _is_mapped() else tree


def gather(tree: PyTree) -> PyTree:
    """Joins the examples of all devices along the first axis, to compare the examples of a batch;
    under jit the batch is global already. Gradients flow back to each example's device."""
    return jax.lax.all_gather(tree, DATA_AXIS, tiled=True) if _is_mapped() else tree


def take(values: Num[Array, "local ..."], rows: Int[Array, " count"]) -> Num[Array, "count ..."]:
    """Takes these rows, which are equal on all devices, from the values of all devices."""
    if not _is_mapped():
        return values[rows]
    local = rows - first_position(len(values))
    is_local = (local >= 0) & (local < len(values))
    taken = values[jnp.where(is_local, local, 0)]
    is_local = is_local.reshape(-1, *[1] * (values.ndim - 1))
    return jax.lax.psum(jnp.where(is_local, taken, 0), DATA_AXIS)


def global_count(count: int) -> int:
    """Counts the examples of all devices, where this one has `count`."""
    return jax.lax.axis_size(DATA_AXIS) * count if _is_mapped() else count


def first_position(count: int) -> Int[Array, ""] | int:
    """Returns the position in the global batch of the first of this device's `count` examples."""
    return jax.lax.axis_index(DATA_AXIS) * count if _is_mapped() else 0


def positions(count: int) -> Int[Array, " count"]:
    """Returns the positions in the global batch of this device's `count` examples."""
    return first_position(count) + jnp.arange(count)


def rotate(values: Num[Array, "local ..."]) -> Num[Array, "local ..."]:
    """Rolls the *global* batch by one: the last example comes first. Under pmap only the last
    example of each device travels, to the next device."""
    rolled = jnp.roll(values, 1, axis=0)
    if not _is_mapped():
        return rolled
    devices = jax.lax.axis_size(DATA_AXIS)
    ring = [(device, (device + 1) % devices) for device in range(devices)]
    first = jax.lax.ppermute(values[-1:], DATA_AXIS, ring)
    return jnp.concatenate([first, values[:-1]])
