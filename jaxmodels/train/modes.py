"""The modes besides training: evaluate, predict, debug, `sample` of sampling.py and `export` of
exporting.py."""

import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxmodels.errors import InputError, RunError
from jaxmodels.files import write_atomically
from jaxmodels.protocol import PyTree, State
from jaxmodels.train.config import Config, configure, from_record
from jaxmodels.train.debug import all_finite, first_non_finite
from jaxmodels.train.evaluation import map_examples
from jaxmodels.train.experiment import Experiment, PerBatch, Prediction
from jaxmodels.train.exporting import export as export  # a mode too, found by its name
from jaxmodels.train.metadata import read_metadata
from jaxmodels.train.origin import was_given_data
from jaxmodels.train.outputs import on_one_device, output_of, restored_of
from jaxmodels.train.predictions import WRITERS, predicted
from jaxmodels.train.run_folder import RunFolder, score_fields
from jaxmodels.train.sampling import sample as sample  # a mode too, found by its name
from jaxmodels.train.script import find_script
from jaxmodels.train.trainer import Trainer


def evaluate(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Scores all splits with a checkpoint, writing nothing; returns a line of all scores. Records
    are shown on standard error.

    Raises:
      InputError: there is no checkpoint, or a split cannot be scored.
    """
    experiment.require_scorable(experiment.evaluation)
    trainer = Trainer(experiment, config, folder)
    step, state = restored_of(trainer)
    fields, earlier = [f"step={step}"], folder.reports()
    for split in reversed(trainer.splits):
        scores, findings = trainer.score(split, state, step, "asked", earlier)
        fields += score_fields(split, scores)
        if findings.record is not None:
            print(json.dumps({split: findings.record}, indent=1), file=sys.stderr)
    return " ".join([*fields, f"workdir={folder.path}"])


def predict(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Writes a line, of JSON or CSV, for each example that `input` names, in order; returns a line
    that says so. The line of an example that cannot be read holds its error.

    Raises:
      InputError: nothing to predict, no input or output, or no checkpoint.
      RunError: no example could be read; the lines say why.
    """
    run, prediction = config.run, _prediction_of(experiment, config)
    if not run.input:
        raise InputError("input = None; expected what to predict for, --input PATH")
    output = output_of(run.output, WRITERS)
    trainer = Trainer(experiment, config, folder)
    step, state = restored_of(trainer)
    lines = predicted(prediction, on_one_device(state), Path(run.input), run.eval_batch_size)
    count, failed = 0, 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal count, failed
        for line in lines:
            count, failed = count + 1, failed + ("error" in line)
            yield line
        if not count:
            raise InputError(f"input = {run.input}; it has nothing to predict for: expected some")

    write_atomically(output, lambda file: WRITERS[output.suffix](file, counted()))
    if count and failed == count:
        raise RunError(f"none of {count} inputs could be read; {output} says why of each")
    return f"step={step} count={count} failed={failed} output={run.output} workdir={folder.path}"


def _prediction_of(experiment: Experiment, config: Config) -> Prediction:
    if experiment.prediction is None:
        raise InputError(f"{config.experiment} has nothing to predict")
    return experiment.prediction


_HINT = "give its config class and its build, load_run(workdir, ConfigClass, build)"


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

    def predict(self, inputs: Any) -> list[dict[str, Any]]:
        """Returns the lines that --mode predict writes, for a path or for arrays (images as the
        run's data has them; see `read_arrays`).

        Raises:
          InputError: nothing to predict, or no example can be read.
        """
        if isinstance(inputs, (str, os.PathLike)):
            inputs = Path(inputs)
        prediction = _prediction_of(self.experiment, self.config)
        size = self.config.run.eval_batch_size
        lines = list(predicted(prediction, self.state, inputs, size))
        if lines and all("error" in line for line in lines):
            raise InputError(f"none of {len(lines)} inputs could be read: {lines[0]['error']}")
        return lines


def load_run(
    workdir: str | Path,
    config_class: type[Config] | None = None,
    build: Callable[..., Experiment] | None = None,
    *,
    data: object = None,
    **changes: object,
) -> Run:
    """Loads the run in a folder, with the state of its last checkpoint, on one device.

    config_class, build: None: those of experiments.NAME. data: what `train` was given besides the
    config, or as text the flag, for an experiment with its examples; None: without them, as
    predictions need none (an older run's are opened). changes: other flags that replace recorded
    ones, as checkpoint="best".

    Raises:
      InputError: the folder holds no run of this experiment or no checkpoint, or the data changed.
    """
    folder = RunFolder(workdir)
    record = folder.record()
    if record is None:
        raise InputError(f"workdir {workdir} holds no run; name one, as runs/EXPERIMENT/NAME")
    if config_class is None or build is None:
        config_class, build = find_script(folder.path, record["experiment"], _HINT)
    folder.require_run_of(config_class.experiment, record)
    if isinstance(data, (str, os.PathLike)):
        changes, data = {"data": data, **changes}, None
    defaults = {
        "workdir": str(workdir),
        "mesh": "data=1",
        "shard": (),
        "accept_code_change": True,
    }
    config = configure(from_record(config_class, record), **defaults | changes)
    config.validate()
    experiment = None
    if data is None and "data" not in changes:
        experiment = without_examples(build, config, folder, record)
    if experiment is None:
        experiment = rebuilt(build, config, folder, record, *([] if data is None else [data]))
    reading = configure(config, mode="predict")
    folder.check(record, reading, record["source"], experiment.facts)
    trainer = Trainer(experiment, config, folder)
    step, state = restored_of(trainer)
    state = on_one_device(state)
    return Run(config, experiment, step, state, trainer.result(state, step, False).scores)


def rebuilt(
    build: Callable[..., Experiment],
    config: Config,
    folder: RunFolder,
    record: dict,
    *data: object,
) -> Experiment:
    """Builds the experiment of a recorded run, from its data.

    Raises:
      InputError: as `build`; it says so where the run's data came from a notebook.
    """
    try:
        return build(config, *data)
    except InputError as error:
        if data or not was_given_data(record):
            raise
        raise InputError(
            f"the run in {folder.path} was given its data by a notebook or script: give them again,"
            f" load_run('{folder.path}', data=data) ({error})"
        ) from None


def without_examples(
    build: Callable[..., Experiment], config: Config, folder: RunFolder, record: dict
) -> Experiment | None:
    """Builds the experiment of a recorded run from what that has kept of its data, wherever they
    are by now; None where it has kept nothing, or `build` takes a config alone.

    Raises:
      InputError: as `build`, or what was kept is damaged.
    """
    try:
        inspect.signature(build).bind(config, None)
    except TypeError:
        return None
    kept = read_metadata(folder, record)
    return None if kept is None else build(config, kept)


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
        state = trainer.create()
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
            found = culprit or "only as compiled; one operation at a time it is finite"
            raise RunError(f"step {step} is not finite: {found}")
        state = following
    return f"steps {first}..{until - 1} are finite in state and metrics"
