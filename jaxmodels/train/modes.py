"""The modes besides training: evaluate, sample, predict, debug."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmodels.errors import InputError, RunError
from jaxmodels.files import write_atomically
from jaxmodels.protocol import PyTree, State
from jaxmodels.train.config import Config, configure, from_record
from jaxmodels.train.debug import all_finite, first_non_finite
from jaxmodels.train.evaluation import map_examples
from jaxmodels.train.experiment import Experiment, PerBatch, Prediction
from jaxmodels.train.loop import Trainer
from jaxmodels.train.run_folder import RunFolder, score_fields


def evaluate(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Scores all splits with a checkpoint, writing nothing; returns a line of all scores. Records
    are shown on standard error.

    Raises:
      InputError: there is no checkpoint.
    """
    trainer = Trainer(experiment, config, folder)
    step, state = _restored(trainer)
    fields, earlier = [f"step={step}"], folder.reports()
    for split in reversed(trainer.splits):
        scores, findings = trainer.score(split, state, step, "asked", earlier)
        fields += score_fields(split, scores)
        if findings.record is not None:
            print(json.dumps({split: findings.record}, indent=1), file=sys.stderr)
    return " ".join([*fields, f"workdir={folder.path}"])


def sample(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Draws `count` samples with a checkpoint into the file `output`; returns a line that says so.

    Raises:
      InputError: nothing to sample, no output, or no checkpoint.
    """
    run = config.run
    if experiment.objective.sample is None:
        raise InputError(f"mode = sample; {config.experiment} has nothing to sample")
    if not run.output or not run.output.endswith(".npz"):
        raise InputError(f"output = {run.output}; expected a file to write, --output FILE.npz")
    trainer = Trainer(experiment, config, folder)
    step, state = _restored(trainer)
    samples = trainer.sample(state, trainer.program.keys.sample, run.count)
    write_atomically(Path(run.output), lambda file: np.savez(file, **samples))
    return f"step={step} count={run.count} output={run.output} workdir={folder.path}"


def predict(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Writes a line of JSON for each example that `input` names, in order; returns a line that says
    so. The line of an example that cannot be read holds its error.

    Raises:
      InputError: nothing to predict, no input or output, or no checkpoint.
    """
    run, prediction = config.run, experiment.prediction
    if prediction is None:
        raise InputError(f"mode = predict; {config.experiment} has nothing to predict")
    if not run.input:
        raise InputError("input = None; expected what to predict for, --input PATH")
    if not run.output or not run.output.endswith(".jsonl"):
        raise InputError(f"output = {run.output}; expected a file to write, --output FILE.jsonl")
    trainer = Trainer(experiment, config, folder)
    step, state = _restored(trainer)
    lines = _predicted(prediction, state, Path(run.input), run.eval_batch_size)
    count, failed = 0, 0

    def write(file) -> None:
        nonlocal count, failed
        for line in lines:
            file.write(json.dumps(line).encode() + b"\n")
            count, failed = count + 1, failed + ("error" in line)

    write_atomically(Path(run.output), write)
    return f"step={step} count={count} failed={failed} output={run.output} workdir={folder.path}"


def _predicted(
    prediction: Prediction, state: State, path: Path, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yields the lines of all examples, computed a batch at a time."""
    names: list[str] = []
    read: list[Mapping[str, np.ndarray] | Exception] = []

    def lines() -> Iterator[dict[str, Any]]:
        good = [columns for columns in read if not isinstance(columns, Exception)]
        outputs: PyTree = None
        if good:
            batch = {name: np.stack([columns[name] for columns in good]) for name in good[0]}
            outputs = map_examples(prediction.predict, state, batch, batch_size)
        at = 0
        for name, columns in zip(names, read):
            if isinstance(columns, Exception):
                yield {"input": name, "error": str(columns)}
                continue
            row = jax.tree.map(lambda leaf, at=at: leaf[at], outputs)
            yield {"input": name, **prediction.write(row)}
            at += 1

    for name, columns in prediction.read(path):
        names.append(name)
        read.append(columns)
        if len(names) == batch_size:
            yield from lines()
            names.clear()
            read.clear()
    yield from lines()


class Run(NamedTuple):
    """A run read back from its folder."""

    config: Config
    experiment: Experiment
    step: int
    state: State
    scores: dict[str, dict[str, float]]  # by split, its last ones

    def map(self, function: PerBatch, columns: Mapping[str, Any]) -> PyTree:
        """Returns the outputs of a function (state, batch, key) for examples in memory."""
        return map_examples(function, self.state, columns)


def load_run(
    config_class: type[Config],
    build: Callable[[Config], Experiment],
    workdir: str | Path,
    **changes: object,
) -> Run:
    """Loads the run in a folder, with the state of its last checkpoint, on one device.

    changes: flags that replace recorded ones: data_dir="..." where the data has moved,
    checkpoint="best".

    Raises:
      InputError: the folder holds no run of this experiment or no checkpoint, or the data changed.
    """
    folder = RunFolder(workdir)
    record = folder.record()
    if record is None or record["experiment"] != config_class.experiment:
        found = f"one of '{record['experiment']}'" if record else "none"
        raise InputError(f"{workdir} holds no run of '{config_class.experiment}' but {found}")
    defaults = {"workdir": str(workdir), "mesh": "data=1", "accept_code_change": True}
    config = configure(from_record(config_class, record), **defaults | changes)
    experiment = build(config)
    folder.check(record, config, record["source"], experiment.facts)
    trainer = Trainer(experiment, config, folder)
    step, state = _restored(trainer)
    state = jax.device_put(jax.device_get(state), jax.local_devices()[0])
    return Run(config, experiment, step, state, trainer.result(state, step, False).scores)


def debug(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Repeats the steps after the last checkpoint, or from the start; returns a line that says that
    they are finite.

    Raises:
      RunError: one is not; it names the layer.
    """
    trainer = Trainer(experiment, config, folder)
    restored = trainer.restored()
    first, state = 0, None
    if restored:
        first, state = restored.step, restored.tree["state"]
    else:
        state = trainer.program.create()
    skipped = restored.facts.skipped if restored and restored.facts else 0
    step_function = experiment.objective.step
    compiled = jax.jit(lambda *a: (out := step_function(*a), all_finite(out)))
    run = config.run
    until = min(first + run.checkpoint_every, max(run.steps, first + 1))
    for step in range(first, until):
        batch = trainer.program.batch(step + skipped)
        key = jax.random.fold_in(trainer.program.keys.step, step + skipped)
        (following, _), finite = compiled(state, batch, key)
        if not finite:
            culprit = first_non_finite(step_function, state, batch, key)
            raise RunError(f"step {step} is not finite: {culprit or 'only as compiled'}")
        state = following
    return f"steps {first}..{until - 1} are finite in state and metrics"


def _restored(trainer: Trainer) -> tuple[int, State]:
    restored = trainer.restored()
    if restored is None:
        raise InputError(f"workdir {trainer.folder.path} has no checkpoint; train the run first")
    return restored.step, restored.tree["state"]
