"""The examples of one step of a run, with the loss and the gradient of each."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxmodels.errors import InputError
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.protocol import Batch, Objective, PyTree, State
from jaxmodels.train.checkpoint import DamagedCheckpoint
from jaxmodels.train.recorded import (
    Point,
    Recorded,
    course_of,
    skipped_at,
    start_of,
    state_of,
)


class Replayed(NamedTuple):
    """A step that was computed again."""

    step: int
    start: int  # the step of the checkpoint that it was computed from
    states: int  # how many recorded states on the way were compared
    differ: list[int]  # the steps of those that are not as recorded
    scores: dict[str, float]  # of the step, as a line of training has them
    gradient_norm: float | None  # of the mean loss; None: the objective gives no losses
    examples: list[dict[str, Any]]  # of the batch, largest loss first


class PerExample(NamedTuple):
    """Losses and gradients of a batch."""

    losses: Float[Array, " batch"]
    gradient_norms: Float[Array, " batch"]
    gradient_norm: Float[Array, ""]  # of the mean loss


def replay(run: Recorded, step: int) -> Replayed:
    """Computes the step that follows the state of `step`, from the newest checkpoint before it.

    Raises:
      InputError: the run has no such step.
    """
    program, objective = run.trainer.program, run.trainer.experiment.objective
    last = run.trainer.config.run.steps - 1
    if not 0 <= step <= last:
        raise InputError(f"step = {step}; the run has the steps 0 to {last}")
    start = _newest_before(run, step)
    skipped, first = skipped_at(run, start.step), start.step
    if step > first:
        print(f"computing steps {first} to {step}", file=sys.stderr)
    stops = sorted({stop for stop in run.states if first < stop < step} | {step})
    compared, differ, state = 0, [], start.state
    for point in course_of(run, start, stops, skipped):
        state = point.state
        if point.step in run.states:
            compared += 1
            if state_of(point) != run.states[point.step]:
                differ.append(point.step)
    batch = program.batch(step + skipped)
    key = jax.random.fold_in(program.keys.step, step + skipped)
    examples = _described(run, batch, step + skipped)
    gradient_norm = None
    if objective.losses:
        found = jax.device_get(_compiled(per_example_of(objective))(state, batch, key))
        gradient_norm = float(found.gradient_norm)
        for example, loss, norm in zip(examples, found.losses, found.gradient_norms, strict=True):
            example |= {"loss": float(loss), "gradient_norm": float(norm)}
        # What is not finite comes first.
        examples.sort(key=lambda example: np.nan_to_num(-example["loss"], nan=-np.inf))
    sums = jax.device_get(_compiled(lambda *given: objective.step(*given)[1])(state, batch, key))
    return Replayed(
        step, first, compared, differ, objective.summarize(sums), gradient_norm, examples
    )


def per_example_of(objective: Objective) -> Callable[[State, Batch, Key[Array, ""]], PerExample]:
    """Makes the function that computes loss and gradient norm of each example.

    The gradient of an example is that of its own loss within the forward pass of the whole batch:
    where examples depend on each other, as by BatchNorm, what its loss changes through the others'
    statistics is part of it. So the mean of the gradients is the gradient of the step.
    """
    of_losses: Any = objective.losses

    def compute(state: State, batch: Batch, key: Key[Array, ""]) -> PerExample:
        params, losses = of_losses(state, batch, key)
        values, pull_back = jax.vjp(losses, params)
        size = len(values)

        def norm_of(weights):
            return _norm(pull_back(weights.astype(values.dtype)))

        norms = jax.lax.map(lambda at: norm_of(jax.nn.one_hot(at, size)), jnp.arange(size))
        return PerExample(values, norms, norm_of(jnp.full(size, 1 / size)))

    return compute


def _norm(tree: PyTree) -> Float[Array, ""]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if leaf.dtype != jax.dtypes.float0]
    squares = [jnp.sum(jnp.square(jnp.abs(leaf)).astype(jnp.float32)) for leaf in leaves]
    return jnp.sqrt(sum(squares, jnp.float32(0)))


def _compiled(function: Callable) -> Callable:
    return jax.jit(function, compiler_options=cpu_compiler_options())


def _newest_before(run: Recorded, step: int) -> Point:
    """Returns the course at the newest whole checkpoint that is not after a step."""
    for saved in reversed(run.checkpoints.steps()):
        if saved <= step:
            try:
                return start_of(run, saved)
            except DamagedCheckpoint as error:
                print(f"note: {error}", file=sys.stderr)
    return start_of(run, 0)


def _described(run: Recorded, batch: Batch, at: int) -> list[dict[str, Any]]:
    """Names the examples of a batch: row, name, and the columns that are one number."""
    program = run.trainer.program
    named = zip(program.rows(at).tolist(), program.names(at), strict=True)
    numbers = {name: np.asarray(column) for name, column in batch.items() if column.ndim == 1}
    return [
        {"row": row, "name": name}
        | {column: values[place].item() for column, values in numbers.items()}
        for place, (row, name) in enumerate(named)
    ]
