"""The devices of a run as a mesh, and how arrays lie on it."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxmodels.cache import cache_folder
from jaxmodels.errors import InputError
from jaxmodels.protocol import DATA_AXIS, PyTree


def use_compilation_cache() -> None:
    """Keeps compiled programs on disk for later processes, unless the user named a folder."""
    config: Any = jax.config  # its type does not say which flags it has
    if not config.jax_compilation_cache_dir:
        config.update("jax_compilation_cache_dir", str(cache_folder("xla")))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def make_mesh(axes: str = "") -> Mesh:
    """Makes a mesh of the devices: "data=4" takes the first four, "" takes all.

    Raises:
      InputError: text of another form, or more devices than there are.
    """
    available = jax.devices()
    name, _, number = axes.partition("=")
    if not axes:
        count = len(available)
    elif name != DATA_AXIS or not number.isdecimal() or int(number) < 1:
        raise InputError(
            f"mesh = '{axes}'; expected {DATA_AXIS}=N, as {DATA_AXIS}={len(available)}"
        )
    else:
        count = int(number)
    if count > len(available):
        raise InputError(f"mesh = '{axes}'; expected at most the {len(available)} devices here")
    # With explicit axes, the default, a gather by a sharded index is refused.
    return Mesh(np.array(available[:count]), (DATA_AXIS,), axis_types=(AxisType.Auto,))


class Shardings(NamedTuple):
    """The ways in which arrays lie on the mesh."""

    whole: NamedSharding  # on every device: state, resident data, metrics
    steps: NamedSharding  # [step, batch, ...]: the batch is divided
    batch: NamedSharding  # [batch, ...]


def shardings_of(mesh: Mesh) -> Shardings:
    """Returns the shardings of a mesh with a data axis."""
    return Shardings(
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec(None, DATA_AXIS)),
        NamedSharding(mesh, PartitionSpec(DATA_AXIS)),
    )


def part_of_host() -> tuple[int, int]:
    """Returns (index, count): of `count` equal parts of every batch, the one of this process."""
    return jax.process_index(), jax.process_count()


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
