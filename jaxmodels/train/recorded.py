"""A run opened from its folder, to compute its steps again. Nothing is written into the folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxmodels.errors import InputError
from jaxmodels.files import read_lines
from jaxmodels.protocol import Metrics, State
from jaxmodels.run_record import states_of
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.config import configure, from_record
from jaxmodels.train.digest import digest_tree, written
from jaxmodels.train.environment import changed_bits, environment
from jaxmodels.train.run_folder import RunFolder, line_of
from jaxmodels.train.script import find_script
from jaxmodels.train.source import source_hash
from jaxmodels.train.trainer import Trainer

_HINT = "name its script with --module, as --module my.script or --module ./script.py"


class Recorded(NamedTuple):
    """A run with the code that made it, as that is now."""

    folder: RunFolder
    record: dict[str, Any]
    trainer: Trainer
    checkpoints: Checkpoints
    states: dict[int, str]  # by step, the checksum in speed.jsonl
    lines: dict[int, dict[str, Any]]  # by step, the lines of training in metrics.jsonl
    notes: list[str]  # what has changed since the run began and may change bits


class Point(NamedTuple):
    """The course of a run at a step."""

    step: int
    state: State
    window: Metrics  # sums since the last line of training


def open_run(
    path: Path, module: str | None = None, data: str | None = None, data_dir: str | None = None
) -> Recorded:
    """Opens the run in a folder.

    module: of its config and its `build`, or a Python file; None: experiments.NAME. data, data_dir:
    replace the flags of these names where the data has moved.

    Raises:
      InputError: there is no run, its experiment is not found, the data is other data, or the
        devices here cannot hold it.
    """
    folder = RunFolder(path)
    record = folder.record()
    if record is None:
        raise InputError(f"{path} holds no run; name a run folder, as runs/EXPERIMENT/NAME")
    config_class, build = find_script(path, record["experiment"], _HINT, module)
    moved = {"data": data, "data_dir": data_dir}
    config = configure(
        from_record(config_class, record),
        workdir=str(path),
        checkpoint="last",
        overwrite=False,
        debug=False,
        patience=0,  # which would need the validation split, and nothing is evaluated here
        accept_code_change=True,
        **{name: value for name, value in moved.items() if value is not None},
    )
    config.validate()
    experiment = build(config)
    folder.check(record, config, record["source"], experiment.facts)
    trainer = Trainer(experiment._replace(evaluation={}), config, folder)
    lines = [line for line in folder.lines() if line.get("split") == "train"]
    return Recorded(
        folder,
        record,
        trainer,
        Checkpoints(folder.checkpoints),
        states_of(read_lines(folder.path / "speed.jsonl")),
        {line["step"]: line for line in lines if isinstance(line.get("step"), int)},
        _notes(record, build),
    )


def _notes(record: dict[str, Any], build: Any) -> list[str]:
    now = environment()
    notes = changed_bits(record["environment"], now)
    if source_hash(build) != record["source"]:
        then, here = record["environment"].get("git_commit"), now["git_commit"]
        notes.append(f"the code changed (commit {then} -> {here})")
    return notes


def start_of(run: Recorded, step: int) -> Point:
    """Returns the course at the checkpoint of a step; of step 0, at the beginning.

    Raises:
      InputError: the checkpoint is damaged, or of other code.
    """
    program = run.trainer.program
    if step not in run.checkpoints.steps():
        return Point(0, run.trainer.create(), program.zeros())
    tree = run.checkpoints.restore(step, program.like).tree
    return Point(step, tree["state"], tree["window"])


def course_of(run: Recorded, start: Point, stops: Iterable[int], skipped: int) -> Iterator[Point]:
    """Yields the course at each of `stops`, in order. The window is complete: it is emptied for a
    line of training only afterwards. The next steps donate the arrays, so use each point before
    asking for another.

    skipped: batches that were left out (see `TrainProgram.feed`).
    """
    step, state, window = start
    program = run.trainer.program
    for stop in stops:
        if stop > step:
            state, window = program.advance(state, window, step, stop, skipped)
        step = stop
        yield Point(step, state, window)
        if step in run.lines:
            window = program.zeros()


def state_of(point: Point) -> str:
    """Computes the checksum of the state, as speed.jsonl has it."""
    return written(digest_tree(point.state))


def line_at(run: Recorded, point: Point) -> dict[str, Any]:
    """Computes the line of training, as metrics.jsonl has it."""
    sums = jax.device_get(point.window)
    scores = run.trainer.experiment.objective.summarize(sums)
    scores = {name: float(value) for name, value in scores.items()}
    return line_of(point.step, "train", scores)


def skipped_at(run: Recorded, step: int) -> int:
    """Returns how many batches had been left out at the checkpoint of a step."""
    facts = run.checkpoints.facts(step) if step in run.checkpoints.steps() else None
    return facts.skipped if facts else 0
