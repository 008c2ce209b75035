"""The train step of an experiment, compiled for devices that need not be there."""

import math
import time
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from jaxmodels.errors import InputError
from jaxmodels.ops.portable import traced_for
from jaxmodels.plan.collectives import Collective, collectives_of
from jaxmodels.plan.topology import Topology
from jaxmodels.protocol import PyTree
from jaxmodels.train.config import Config
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.layout import mesh_of, sizes_of
from jaxmodels.train.program import TrainProgram


class PlannedProgram(TrainProgram):
    """A program of which only the shapes of its arrays are there."""

    def _placed(self, tree: PyTree) -> PyTree:
        def like(leaf: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.shardings.whole)

        return jax.tree.map(like, tree)

    def _options(self) -> dict[str, str]:
        return super()._options() if self._mesh.devices.flat[0].platform == "cpu" else {}

    def state(self) -> PyTree:
        """Returns the shapes of the state, with their places."""
        return self.like["state"]


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of a step, on one device but for what is called total."""

    mesh: dict[str, int]
    batch_size: int
    seconds: float  # of compiling
    parameters: int  # total
    state_bytes: int
    argument_bytes: int
    output_bytes: int
    aliased_bytes: int
    temporary_bytes: int
    peak_bytes: int
    operations: int  # total, of one step as it is computed
    needed: int  # of them (see `Operations`)
    tokens: int  # of text in a batch; 0: it has none
    collectives: list[Collective]


def compile_step(
    experiment: Experiment, config: Config, topology: Topology, devices: list[Any]
) -> Compiled:
    """Compiles one call of the train step.

    Raises:
      InputError: a mesh that does not fit the devices or the model.
    """
    run = config.run
    mesh = planned_mesh(run.mesh, devices)
    backend = "cpu" if devices[0].platform == "cpu" else devices[0].platform
    began = time.perf_counter()
    with traced_for(backend, mesh.size):
        program = PlannedProgram(
            experiment.objective,
            experiment.train,
            run.batch_size,
            1,
            run.seed,
            mesh,
            config.batches_per_step,
            "jit",
            run.on_nonfinite == "skip",
            experiment.sharding,
            run.shard,
            config.remat,
        )
        compiled = program.compile()
        batch_size = run.batch_size * config.batches_per_step
        operations = program.operations()
    memory: Any = compiled.memory_analysis()
    fixed = memory.argument_size_in_bytes + memory.output_size_in_bytes
    fixed -= memory.alias_size_in_bytes
    return Compiled(
        mesh=dict(mesh.shape),
        batch_size=batch_size,
        seconds=time.perf_counter() - began,
        parameters=parameters_of(experiment, program.state()),
        state_bytes=sum(bytes_here(leaf) for leaf in jax.tree.leaves(program.state())),
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        aliased_bytes=memory.alias_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        peak_bytes=fixed + memory.temp_size_in_bytes,
        operations=operations.computed,
        needed=round(operations.needed),
        tokens=experiment.tokens * batch_size,
        collectives=collectives_of(compiled.as_text() or "", mesh),
    )


def planned_mesh(axes: str, devices: list[Any]) -> Mesh:
    """Makes the mesh that the flag names of the planned devices.

    Raises:
      InputError: another number of devices than there are.
    """
    sizes = sizes_of(axes, len(devices))
    if math.prod(sizes.values()) != len(devices):
        raise InputError(
            f"mesh = '{axes}' has {math.prod(sizes.values())} devices; expected the"
            f" {len(devices)} of the topology"
        )
    return mesh_of(sizes, devices)


def parameters_of(experiment: Experiment, state: PyTree) -> int:
    """Counts the parameters: of what an objective has learned, its `params`."""
    learned = experiment.objective.learned
    params = state.get("params", {})
    if learned is not None:
        params = jax.eval_shape(learned, state)
        params = params.get("params", params)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def bytes_here(leaf: Any) -> int:
    """Returns the bytes of an array on one device."""
    shape = leaf.sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
