"""Our engine as a peer of `alternate`: the steps of a compiled program, a chunk at a time."""

from collections.abc import Callable

import jax

from jaxmodels.train.compile import TrainProgram


def engine_block(program: TrainProgram) -> Callable[[int], None]:
    """block(steps), which runs that many steps on from where it was and waits for their metrics."""
    state, at = program.create(), 0

    def block(steps: int) -> None:
        nonlocal state, at
        window = program.zeros()
        end = at + steps
        while at < end:
            stop = min(at + program.length, end)
            state, window = program.run(state, window, at, stop)
            at = stop
        jax.device_get(window)

    return block
