"""Our engine as a peer of `alternate`: the steps of a compiled program."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxmodels.protocol import Objective, Source
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram


class EngineStep(NamedTuple):
    """A training step of our engine: the objective, the data and the size of batches.

    length: the most steps in one call of the compiled program.
    devices: how many divide each batch.
    """

    objective: Objective
    source: Source
    batch_size: int
    length: int = 100
    devices: int = 1

    def program(self) -> TrainProgram:
        """Compiles the steps, for one device unless told otherwise, since the peers run on one."""
        mesh = make_mesh(f"data={self.devices}")
        return TrainProgram(self.objective, self.source, self.batch_size, self.length, 0, mesh)

    def block(self, program: TrainProgram | None = None) -> Callable[[int], None]:
        """Makes block(steps), which trains on for that many steps and waits for their metrics.

        program: that of `program()`, if it was made already.
        """
        program = program or self.program()
        state, at = program.create(), 0

        def block(steps: int) -> None:
            nonlocal state, at
            state, window = program.advance(state, program.zeros(), at, at + steps)
            at += steps
            jax.device_get(window)

        return block

    def sizes(self, program: TrainProgram) -> dict[str, int]:
        """Counts the "parameters", and the "flops" of a step as it is computed."""
        params = program.like["state"]["params"]
        parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
        return {"parameters": parameters, "flops": program.operations().computed}

    def flops(self) -> float:
        """Counts the floating-point operations of one step, as XLA does before it optimises.

        One step is lowered alone, since XLA counts the body of a loop only once. Call this on a
        CPU, because a GPU's convolutions are library calls, which XLA does not count, and with
        `JAXMODELS_NATIVE_CONVOLUTIONS` set, so that each convolution is one operation of XLA.
        """
        objective, key = self.objective, jax.random.key(0)
        spec = self.source.spec(self.batch_size)
        state = jax.eval_shape(
            lambda key: objective.init(key, spec, objective.hyperparameters), key
        )
        return jax.jit(objective.step).lower(state, spec, key).cost_analysis()["flops"]
