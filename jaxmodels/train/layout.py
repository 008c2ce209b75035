"""The devices of a run as a mesh, and how arrays lie on it."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxmodels.cache import cache_folder
from jaxmodels.errors import InputError
from jaxmodels.protocol import BATCH_AXES, DATA_AXIS, FSDP_AXIS, MODEL_AXIS, PyTree

AXES = (DATA_AXIS, FSDP_AXIS, MODEL_AXIS)


def use_compilation_cache() -> None:
    """Keeps compiled programs on disk for later processes, unless the user named a folder."""
    config: Any = jax.config  # its type does not say which flags it has
    if not config.jax_compilation_cache_dir:
        config.update("jax_compilation_cache_dir", str(cache_folder("xla")))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def make_mesh(axes: str = "") -> Mesh:
    """Makes a mesh of the devices: "data=4" takes the first four, "" takes all, and
    "data=2,fsdp=2,model=2" has three axes, of which those that are left out are 1.

    Raises:
      InputError: text of another form, or more devices than there are.
    """
    available = jax.devices()
    sizes = sizes_of(axes, len(available))
    count = math.prod(sizes.values())
    if count > len(available):
        raise InputError(f"mesh = '{axes}'; expected at most the {len(available)} devices here")
    if axes and count < len(available) and jax.process_count() > 1 and count > 1:
        raise InputError(
            f"mesh = '{axes}'; expected all {len(available)} devices of the"
            f" {jax.process_count()} processes, not {count}"
        )
    here = jax.local_devices() if count == 1 else available
    return mesh_of(sizes, here[:count])


def mesh_of(sizes: Mapping[str, int], devices: Sequence[Any]) -> Mesh:
    """Makes a mesh of these devices, as many as the product of the sizes."""
    # With explicit axes, the default, a gather by a sharded index is refused.
    types = (AxisType.Auto,) * len(sizes)
    if len(sizes) == 1:
        return Mesh(np.array(devices), tuple(sizes), axis_types=types)
    # On a TPU this heeds how the chips are connected.
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=types, devices=devices)


def sizes_of(axes: str, available: int) -> dict[str, int]:
    """Reads the sizes of the axes of a mesh.

    Raises:
      InputError: text of another form.
    """
    if not axes:
        return {DATA_AXIS: available}
    given: dict[str, int] = {}
    for part in axes.split(","):
        name, _, number = part.strip().partition("=")
        if name not in AXES or name in given or not number.isdecimal() or int(number) < 1:
            raise InputError(
                f"mesh = '{axes}'; expected {DATA_AXIS}=N, as {DATA_AXIS}={available}, or with"
                f" {FSDP_AXIS}=N and {MODEL_AXIS}=N too, as"
                f" {DATA_AXIS}=1,{FSDP_AXIS}={available},{MODEL_AXIS}=1"
            )
        given[name] = int(number)
    if set(given) == {DATA_AXIS}:
        return given
    return {name: given.get(name, 1) for name in AXES}


def divides_state(mesh: Mesh) -> bool:
    """Whether a mesh has axes that divide more than batches."""
    return MODEL_AXIS in mesh.shape


def shown(mesh: Mesh) -> str:
    """Writes a mesh as the flag does."""
    return ",".join(f"{name}={size}" for name, size in mesh.shape.items())


def batch_parts(mesh: Mesh) -> int:
    """Returns into how many parts a mesh divides a batch."""
    return math.prod(mesh.shape.get(name, 1) for name in BATCH_AXES)


class Shardings(NamedTuple):
    """The ways in which arrays lie on the mesh."""

    whole: NamedSharding  # on every device: resident data, metrics, a state that is not divided
    steps: NamedSharding  # [step, batch, ...]: the batch is divided
    batch: NamedSharding  # [batch, ...]


def shardings_of(mesh: Mesh) -> Shardings:
    """Returns the shardings of a mesh with a data axis."""
    axes = BATCH_AXES if divides_state(mesh) else DATA_AXIS
    return Shardings(
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec(None, axes)),
        NamedSharding(mesh, PartitionSpec(axes)),
    )


def part_of_host(mesh: Mesh) -> tuple[int, int]:
    """Returns (index, count): of `count` equal parts of every batch, the one of this process.

    Raises:
      InputError: processes whose devices have parts of a batch that overlap.
    """
    if jax.process_count() == 1 or mesh.size == 1:
        return 0, 1
    parts = batch_parts(mesh)
    # An axis of the mesh after those of the batch has the same examples on each of its devices.
    owners = [
        {device.process_index for device in row} for row in mesh.devices.reshape(parts, -1).tolist()
    ]
    here = jax.process_index()
    own = [number for number, processes in enumerate(owners) if here in processes]
    together = [set(processes) == owners[own[0]] for processes in (owners[n] for n in own)]
    size = len(own)
    if not all(together) or own[0] % size or own != list(range(own[0], own[0] + size)):
        raise InputError(
            f"mesh {dict(mesh.shape)} gives process {here} parts {own} of the {parts} of a batch;"
            " expected adjacent parts, shared as a whole: change the mesh or the processes"
        )
    return own[0] // size, parts // size


def put(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Puts arrays of the host on the devices. Each of several processes gives its part along the
    divided axis; where no axis is divided, all give the same arrays."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(partial(_put_local, sharding), tree)


def _put_local(sharding: NamedSharding, leaf: np.ndarray | Array) -> Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put_local(sharding, np.asarray(jax.random.key_data(leaf)))
        return jax.random.wrap_key_data(data)
    return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))


def on_host(tree: PyTree) -> PyTree:
    """Copies arrays from the devices to the host. An array of which other processes have parts is
    joined first, so that each process gets all of it."""
    if all(_is_here(leaf) for leaf in jax.tree.leaves(tree)):
        return jax.device_get(tree)
    mesh = next(leaf.sharding.mesh for leaf in jax.tree.leaves(tree) if not _is_here(leaf))
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.device_get(jax.jit(lambda tree: tree, out_shardings=whole)(tree))


def _is_here(leaf: Any) -> bool:
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated
