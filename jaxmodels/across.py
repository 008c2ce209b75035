"""Operations over all devices, the same under jit, where a batch is global, and under pmap, where
each device has a part of the batch and a named axis joins the parts.

Objectives call them on gradients, BatchNorm on its statistics, without knowing which of the two is
in use. Models say where their activations lie, which has no effect without a mesh that divides more
than batches.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, DTypeLike, Int, Num, Shaped

from jaxmodels.errors import InputError
from jaxmodels.protocol import BATCH_AXES, DATA_AXIS, PyTree

BATCH = BATCH_AXES


class _InUse(NamedTuple):
    mesh: Mesh
    whole: Callable[[str, tuple[int, ...]], PartitionSpec]


_in_use: ContextVar[_InUse | None] = ContextVar("mesh_in_use", default=None)


@contextmanager
def use_mesh(mesh: Mesh, whole: Callable[[str, tuple[int, ...]], PartitionSpec]) -> Iterator[None]:
    """Makes `constrain` and `gathered` heed a mesh in what is traced inside.

    whole: says how the parameter of a path and shape lies where it is used.
    """
    token = _in_use.set(_InUse(mesh, whole))
    try:
        yield
    finally:
        _in_use.reset(token)


def constrain(
    x: Shaped[Array, "*shape"],
    *axes: str | tuple[str, ...] | None,
    what: str = "width",
    optional: bool = False,
) -> Shaped[Array, "*shape"]:
    """Fixes how an activation is divided: by which axes of the mesh each of its axes is.

    An axis of examples that the mesh does not divide, as that of one example at initialisation, is
    left to the compiler.

    axes: of the mesh, for each of the first axes of x; None: not divided.
    what: the word for the numbers along the other axes of x, for the error ("heads").
    optional: any axis that the mesh does not divide is left to the compiler.

    Raises:
      InputError: an axis other than that of the examples that the mesh does not divide.
    """
    in_use = _in_use.get()
    if in_use is None:
        return x
    spec = []
    for size, names in zip(x.shape, [*axes, *[None] * (x.ndim - len(axes))], strict=True):
        parts = math.prod(in_use.mesh.shape[n] for n in names_of(names))
        if size % parts and names != BATCH and not optional:
            raise InputError(
                f"mesh has {names_of(names)[0]} = {parts}; expected a divisor of the {size} {what}:"
                f" {nearest_divisors(size, parts)}"
            )
        spec.append(names if size % parts == 0 else PartitionSpec.UNCONSTRAINED)
    sharding = NamedSharding(in_use.mesh, PartitionSpec(*spec))
    return jax.lax.with_sharding_constraint(x, sharding)


def divides(axis: str, size: int) -> bool:
    """Whether the mesh that `constrain` heeds has several devices along an axis, and divides an
    axis of so many numbers over them."""
    in_use = _in_use.get()
    parts = 1 if in_use is None else in_use.mesh.shape[axis]
    return parts > 1 and size % parts == 0


GATHERED = "gathered"  # the name of what `gathered` gives, for policies of jax.checkpoint


def has_mesh() -> bool:
    """Whether what is being traced runs on a mesh that divides more than batches."""
    return current_mesh() is not None


def current_mesh() -> Mesh | None:
    """Returns the mesh that `constrain` heeds, for what keeps traces: they are of that mesh."""
    in_use = _in_use.get()
    return None if in_use is None else in_use.mesh


def gathered(params: PyTree, path: str, dtype: DTypeLike) -> PyTree:
    """Gathers parameters that are divided over fsdp where they are used; their gradients are
    divided again. Without such a mesh they are returned as they are.

    path: that of the tree in the parameters of the model.
    dtype: the type in which kernels are multiplied; they are converted before they are gathered.
    """
    in_use = _in_use.get()
    if in_use is None:
        return params

    def whole(below, leaf: Array) -> Array:
        name = jax.tree_util.keystr(below, simple=True, separator="/")
        sharding = NamedSharding(in_use.mesh, in_use.whole(f"{path}/{name}", leaf.shape))
        if name.endswith("kernel"):
            leaf = leaf.astype(dtype)
        return checkpoint_name(jax.lax.with_sharding_constraint(leaf, sharding), GATHERED)

    return jax.tree_util.tree_map_with_path(whole, params)


def names_of(axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns the axes of the mesh that divide one axis of an array."""
    return (axes,) if isinstance(axes, str) else (axes or ())


def nearest_divisors(size: int, parts: int) -> str:
    """Lists the divisors of a size next to a number that is none."""
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    below = [n for n in divisors if n < parts][-1:]
    above = [n for n in divisors if n > parts][:1]
    return " or ".join(map(str, below + above))


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
