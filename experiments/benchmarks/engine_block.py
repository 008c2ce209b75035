"""Our engine as a peer of `alternate`: the steps of a compiled program."""

from collections.abc import Callable

import jax

from jaxmodels.train.program import TrainProgram


def engine_block(program: TrainProgram) -> Callable[[int], None]:
    """block(steps), which runs that many steps on from where it was and waits for their metrics."""
    state, at = program.create(), 0

    def block(steps: int) -> None:
        nonlocal state, at
        state, window = program.advance(state, program.zeros(), at, at + steps)
        at += steps
        jax.device_get(window)

    return block
