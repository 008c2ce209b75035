"""The devices of a plan: those of a TPU slice that is not there, or simulated ones."""

import importlib.util
import math
import os
from typing import Any, NamedTuple

from jaxmodels.errors import InputError, closest
from jaxmodels.train.chips import CHIPS, TPUS, Chip


class Topology(NamedTuple):
    """Devices by name.

    sides: of the slice, as (4, 4); of other devices their number. chip: None of a CPU, of which
    nothing is promised.
    """

    name: str
    kind: str
    sides: tuple[int, ...]
    chip: Chip | None

    @property
    def count(self) -> int:
        """The number of devices."""
        return math.prod(self.sides)


def read_topology(text: str) -> Topology:
    """Reads KIND:SIDES, as v5e:4x4, h100:8 or cpu:8.

    Raises:
      InputError: text of another form, or an unknown chip.
    """
    kind, _, sides = text.partition(":")
    if kind not in CHIPS and kind != "cpu":
        raise InputError(
            f"topology = {text}; unknown chip '{kind}'{closest(kind, [*CHIPS, 'cpu'])} Known:"
            f" {', '.join([*CHIPS, 'cpu'])}"
        )
    parts = sides.split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        shape = "4x4" if kind in TPUS else "8"
        raise InputError(f"topology = {text}; expected KIND:COUNT, as {kind}:{shape}")
    return Topology(text, kind, tuple(map(int, parts)), CHIPS.get(kind))


def prepare(topology: Topology) -> None:
    """Sets what jax reads when it starts: no device but the CPU, and as many of these as needed."""
    simulated = 1 if topology.kind in TPUS and has_libtpu() else topology.count
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={simulated}".strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
    if topology.kind in TPUS:
        # Otherwise libtpu asks a server of the cloud what machine this is.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", f"{topology.kind}-{topology.count}")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        # Nothing here takes a TPU, so that several plans may be made at once.
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")


def has_libtpu() -> bool:
    """Whether the compiler for TPUs is installed."""
    return importlib.util.find_spec("libtpu") is not None


def devices_of(topology: Topology) -> tuple[list[Any], str]:
    """Returns devices to compile for, and a note of what they are.

    Raises:
      InputError: the compiler does not know such a slice.
    """
    import jax

    if topology.kind not in TPUS or not has_libtpu():
        wanted = " (pip install libtpu compiles for the TPU itself)" if topology.chip else ""
        note = f"compiled for {topology.count} simulated CPU devices"
        if topology.kind in TPUS:
            note += wanted
        return jax.devices()[: topology.count], note
    from jax.experimental import topologies

    try:
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{topology.kind}:{'x'.join(map(str, topology.sides))}"
        )
    except Exception as error:  # of several types, all from the compiler
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"topology = {topology.name}; libtpu does not know it: {first}") from None
    return list(found.devices), f"compiled by libtpu for {topology.name}"


def hurry(topology: Topology) -> str:
    """Lets the compiler for TPUs optimise as little as it can, for all that this process compiles;
    returns what a note says of it.

    Raises:
      InputError: the step is not compiled for a TPU, which takes no long time.
    """
    import jax

    if topology.kind not in TPUS or not has_libtpu():
        raise InputError(
            f"quick with topology = {topology.name}; expected a TPU and libtpu, whose compiler"
            " alone can hurry"
        )
    config: Any = jax.config  # its type does not say which flags it has
    config.update("jax_optimization_level", "O1")
    return " with little optimisation (a run's own step may take more memory)"
