"""What can be done with a run besides training it: evaluate, sample, debug."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxmodels.errors import InputError, RunError
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.protocol import State
from jaxmodels.train.config import TrainConfig, from_json
from jaxmodels.train.debug import all_finite, first_non_finite
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.loop import Trainer
from jaxmodels.train.run_folder import RunFolder, score_fields, write_atomically


def evaluate(experiment: Experiment, config: TrainConfig, folder: RunFolder) -> str:
    """Scores validation and test with a checkpoint, writing nothing; the line of all scores.

    Raises:
      InputError: there is no checkpoint.
    """
    trainer = Trainer(experiment, config, folder)
    step, state = _restored(trainer)
    fields = [f"step={step}"]
    for split, program in reversed(trainer.evaluations.items()):
        scores = trainer.score(split, program, state, step, step == config.steps, workdir=None)
        fields += score_fields(split, scores)
    return " ".join([*fields, f"workdir={folder.path}"])


def sample(experiment: Experiment, config: TrainConfig, folder: RunFolder) -> str:
    """Draws `count` samples with a checkpoint into the file `output`; a line that says so.

    Raises:
      InputError: nothing to sample, no output, or no checkpoint.
    """
    draw = experiment.objective.sample
    if draw is None:
        raise InputError(f"mode = sample; {config.experiment} has nothing to sample")
    if not config.output or not config.output.endswith(".npz"):
        raise InputError(f"output = {config.output}; expected a file to write, --output FILE.npz")
    trainer = Trainer(experiment, config, folder)
    step, state = _restored(trainer)
    draw = jax.jit(draw, static_argnums=2, compiler_options=cpu_compiler_options())
    samples = jax.device_get(draw(state, trainer.program.keys.sample, config.count))
    write_atomically(Path(config.output), lambda file: np.savez(file, **samples))
    return f"step={step} count={config.count} output={config.output} workdir={folder.path}"


class Run(NamedTuple):
    """A run read back from its folder."""

    config: TrainConfig
    experiment: Experiment
    step: int
    state: State
    scores: dict[str, dict[str, float]]  # the last ones of each split


def load_run(
    config_class: type[TrainConfig],
    build: Callable[[TrainConfig], Experiment],
    workdir: str | Path,
    **changes: object,
) -> Run:
    """The run in a folder, with the state of its last checkpoint, on one device.

    changes: of the recorded config, as data_dir="..." where the data has moved, checkpoint="best".

    Raises:
      InputError: the folder holds no run of this experiment or no checkpoint, or the data changed.
    """
    folder = RunFolder(workdir)
    record = folder.record()
    if record is None or record["experiment"] != config_class.experiment:
        found = f"one of '{record['experiment']}'" if record else "none"
        raise InputError(f"{workdir} holds no run of '{config_class.experiment}' but {found}")
    recorded = {"workdir": str(workdir), "mesh": "data=1", "accept_code_change": True}
    config = replace(from_json(config_class, record["config"]), **recorded | changes)
    experiment = build(config)
    folder.check(record, config, record["source"], experiment.facts)
    trainer = Trainer(experiment, config, folder)
    step, state = _restored(trainer)
    return Run(config, experiment, step, state, trainer.result(state, step, False).scores)


def debug(experiment: Experiment, config: TrainConfig, folder: RunFolder) -> str:
    """Steps from the last checkpoint, or the start, until one is not finite; what it names.

    Raises:
      RunError: it found one.
    """
    trainer = Trainer(experiment, config, folder)
    first, state = trainer.restored() or (0, trainer.program.create())
    step_function = experiment.objective.step
    compiled = jax.jit(lambda *a: (out := step_function(*a), all_finite(out)))
    until = min(first + config.checkpoint_every, max(config.steps, first + 1))
    for step in range(first, until):
        batch = trainer.program.batch(step)
        key = jax.random.fold_in(trainer.program.keys.step, step)
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
    return restored
