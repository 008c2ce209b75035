"""The mode export: the trained model in a format that other programs read."""

from pathlib import Path

from jaxmodels.errors import InputError
from jaxmodels.train.config import Config
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.outputs import restored_of
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.trainer import Trainer


def export(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Writes the model of a checkpoint to `output`, which is made; returns a line that says so.

    Raises:
      InputError: a format that the experiment does not have, no output, one that exists, or
        no checkpoint.
    """
    run = config.run
    if run.format not in experiment.exports:
        raise InputError(_without(run.format, config.experiment, list(experiment.exports)))
    if not run.output:
        raise InputError("output = None; expected a folder or file to make, --output PATH")
    output = Path(run.output).expanduser()
    if output.exists() or not output.parent.is_dir():
        wrong = "it exists" if output.exists() else f"there is no folder {output.parent}"
        raise InputError(f"output = {output}; {wrong}: name one that is to be made")
    step, state = restored_of(Trainer(experiment, config, folder))
    experiment.exports[run.format](state, output)
    return f"step={step} format={run.format} output={output} workdir={folder.path}"


def _without(wanted: str, name: str, having: list[str]) -> str:
    """Says which formats an experiment has instead of one, and why."""
    if not having:
        return f"format = {wanted}; {name} exports nothing; expected `exports` in its Experiment"
    why = _REASONS.get(wanted, "")
    formats = ", ".join(having)
    return f"format = {wanted}; {name} exports {formats}{why}: --format {' or '.join(having)}"


_REASONS = {
    "safetensors": ", since no other library has published names of its model",
    "keras": ", since Keras has no network of its kind here",
}
