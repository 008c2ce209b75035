"""Our engine as a peer of `alternate`: the steps of a compiled program."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxmodels.protocol import Objective, Source
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram


class EngineStep(NamedTuple):
    """A training step of this project: what is minimised, on which data, in batches of which size.

    length: the most steps in one call of the compiled program.
    """

    objective: Objective
    source: Source
    batch_size: int
    length: int = 100

    def program(self) -> TrainProgram:
        """The compiled steps, on one device, as the peers run on one."""
        mesh = make_mesh("data=1")
        return TrainProgram(self.objective, self.source, self.batch_size, self.length, 0, mesh)

    def block(self) -> Callable[[int], None]:
        """block(steps), which runs that many steps on from where it was and waits for their
        metrics."""
        program = self.program()
        state, at = program.create(), 0

        def block(steps: int) -> None:
            nonlocal state, at
            state, window = program.advance(state, program.zeros(), at, at + steps)
            at += steps
            jax.device_get(window)

        return block

    def flops(self) -> float:
        """The floating-point operations of one step as XLA counts them before it optimises.

        The step stands outside of a loop, whose body XLA would count once however often it runs,
        and is lowered for a CPU: on a GPU, compiled convolutions are calls of a library, which are
        not counted. `JAXMODELS_NATIVE_CONVOLUTIONS` has to be set, so that each convolution is one.
        """
        objective, key = self.objective, jax.random.key(0)
        spec = self.source.spec(self.batch_size)
        state = jax.eval_shape(
            lambda key: objective.init(key, spec, objective.hyperparameters), key
        )
        return jax.jit(objective.step).lower(state, spec, key).cost_analysis()["flops"]
