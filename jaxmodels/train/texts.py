"""The mode sample of a model that writes: lines of a file, or on the terminal as they come."""

import sys

import jax

from jaxmodels.errors import InputError
from jaxmodels.files import write_atomically
from jaxmodels.train.config import Config
from jaxmodels.train.experiment import Experiment, Texts
from jaxmodels.train.outputs import on_one_device, output_of, restored_of
from jaxmodels.train.predictions import write_json_lines
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.trainer import Trainer, require_sample


def write_texts(experiment: Experiment, texts: Texts, config: Config, folder: RunFolder) -> str:
    """Writes texts with a checkpoint, a JSON object a line, into `output`; without one, onto
    standard output while they are written. Returns a line that says so.

    Raises:
      InputError: an input, an output of another kind, or no checkpoint.
    """
    run = config.run
    if run.input:
        raise InputError(f"input = {run.input}; --mode sample of texts takes --prompt TEXT instead")
    output = output_of(run.output, ".jsonl") if run.output else None
    require_sample(experiment, config.experiment)
    trainer = Trainer(experiment, config, folder)
    key = trainer.program.keys.sample
    conditions = texts.conditions(key)
    step, state = restored_of(trainer)
    if output is None:
        one = jax.device_put(key, jax.local_devices()[0])
        for piece in texts.stream(on_one_device(state), one, conditions):
            sys.stdout.write(piece)
            sys.stdout.flush()
        return f"step={step} workdir={folder.path}"
    lines = list(texts.lines(conditions, trainer.sample(state, key, conditions)))
    write_atomically(output, lambda file: write_json_lines(file, lines))
    return f"step={step} count={len(lines)} output={run.output} workdir={folder.path}"
