"""Stretches of a run computed again, and compared with what the run recorded."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.protocol import PyTree
from jaxmodels.train.checkpoint import DamagedCheckpoint
from jaxmodels.train.digest import digests_by_name, names_of_leaves
from jaxmodels.train.recorded import (
    Point,
    Recorded,
    course_of,
    line_at,
    skipped_at,
    start_of,
    state_of,
)

_MOST_NAMES = 4


class Stretch(NamedTuple):
    """Steps of a run, from one of its checkpoints or the beginning on."""

    start: int
    stops: tuple[int, ...]  # the steps for which the run has recorded something to compare

    def __str__(self) -> str:
        return f"steps {self.start} to {self.stops[-1]}"


class Reproduction(NamedTuple):
    """What came of a stretch that was computed again."""

    stretch: Stretch
    states: int  # how many states were compared; likewise below
    lines: int
    checkpoints: int
    differences: list[str]  # in the order of steps


def stretches_of(run: Recorded, whole: set[int], steps: int | None, seed: int) -> list[Stretch]:
    """Chooses the first stretch, and one from a random checkpoint that is followed by something to
    compare.

    whole: steps of the checkpoints that are not damaged. steps: the longest a stretch may be; it
      ends at the last recorded step within that; None: it ends at the first recorded step.

    Raises:
      InputError: nothing is recorded within so many steps of the beginning.
    """
    recorded = sorted(run.states.keys() | run.lines.keys() | whole)
    if not recorded:
        raise InputError(
            f"{run.folder.path} has neither lines nor checkpoints; train the run first"
        )
    first = _stretch(recorded, 0, steps)
    if first is None:
        raise InputError(
            f"steps = {steps}; the first line of {run.folder.path} is at step {recorded[0]}:"
            f" expected at least {recorded[0]}"
        )
    later = [stretch for step in sorted(whole) if (stretch := _stretch(recorded, step, steps))]
    return [first, *([random.Random(seed).choice(later)] if later else [])]


def _stretch(recorded: Sequence[int], start: int, steps: int | None) -> Stretch | None:
    after = [step for step in recorded if step > start]
    stops = after[:1] if steps is None else [step for step in after if step <= start + steps]
    return Stretch(start, tuple(stops)) if stops else None


def reproduce(run: Recorded, stretch: Stretch) -> Reproduction:
    """Computes a stretch again.

    After a divergence a run leaves batches out, and only its later checkpoints say how many; so
    each number that they know is tried.
    """
    steps = [step for step in run.checkpoints.steps() if step >= stretch.start]
    numbers = [skipped_at(run, stretch.start), *(skipped_at(run, step) for step in steps)]
    tried = []
    for skipped in dict.fromkeys(numbers):
        tried.append(_reproduce(run, stretch, skipped))
        if not tried[-1].differences:
            return tried[-1]
    return tried[0]


def _reproduce(run: Recorded, stretch: Stretch, skipped: int) -> Reproduction:
    states = lines = checkpoints = 0
    differences: list[str] = []
    for point in course_of(run, start_of(run, stretch.start), stretch.stops, skipped):
        step = point.step
        if step in run.states:
            states += 1
            found = state_of(point)
            if found != run.states[step]:
                differences.append(f"step {step}: the state is {found}, was {run.states[step]}")
        if step in run.lines:
            lines += 1
            differences += _differences_of_lines(run.lines[step], line_at(run, point))
        if step in run.checkpoints.steps():
            checkpoints += 1
            differences += _differences_of_arrays(run, point)
    return Reproduction(stretch, states, lines, checkpoints, differences)


def _differences_of_lines(then: dict, now: dict) -> list[str]:
    names = [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]
    if not names:
        return []
    values = ", ".join(f"{name} is {now.get(name)}, was {then.get(name)}" for name in names)
    return [f"step {now['step']}: in metrics.jsonl {values}"]


def _differences_of_arrays(run: Recorded, point: Point) -> list[str]:
    """Compares state and window with the checkpoint of the step, array by array."""
    window = run.trainer.program.zeros() if point.step in run.lines else point.window
    tree = {"state": point.state, "window": window}
    then, now = run.checkpoints.digests(point.step), digests_by_name(tree)
    names = [name for name in now if then.get(name) != now[name]]
    if not then or not names:
        return []
    shown = ", ".join(names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return [
        f"step {point.step}: {len(names)} of {len(now)} arrays of the checkpoint differ: {shown}"
        f"{more}{_by_how_much(run, point.step, tree, names)}"
    ]


def _by_how_much(run: Recorded, step: int, tree: PyTree, names: list[str]) -> str:
    """Describes the largest difference to the arrays of these names in a checkpoint."""
    try:
        restored = run.checkpoints.restore(step, run.trainer.program.like).tree
    except DamagedCheckpoint:
        return ""
    pairs = zip(names_of_leaves(tree), *map(jax.tree.leaves, (restored, tree)), strict=True)
    largest, where = max((_largest_difference(a, b), n) for n, a, b in pairs if n in names)
    return f"; by at most {largest:.3g}, in {where}"


def _largest_difference(a: jax.Array, b: jax.Array) -> float:
    if jax.numpy.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    wide = [np.asarray(jax.device_get(leaf)).astype(np.complex128) for leaf in (a, b)]
    difference = np.abs(wide[0] - wide[1])
    # Two infinities or NaNs have no difference, though their bits may differ.
    return float(np.max(np.nan_to_num(difference, nan=np.inf), initial=0.0))
