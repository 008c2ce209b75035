"""The command that makes a run again."""

import dataclasses
import shlex

from jaxmodels.train.config import TrainConfig

# They say what to do with a run, or where, and not which run it is. A preset is only a shorter way
# to write flags: those that differ from the defaults are all in the command, so it is not needed.
_LEFT_OUT = {
    "preset",
    "workdir",
    "mode",
    "checkpoint",
    "count",
    "output",
    "overwrite",
    "accept_code_change",
    "debug",
}


def command_of(config: TrainConfig) -> str:
    """python -m experiments.NAME with the flags that differ from their defaults, for a shell."""
    words = ["python", "-m", f"experiments.{config.experiment}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in _LEFT_OUT or value == _default(field) or value is None:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, (tuple, list)):
            words += [f"--{flag}", *map(str, value)]
        elif str(value).startswith("-"):
            words.append(f"--{flag}={value}")  # else it would be read as a flag
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def _default(field: dataclasses.Field) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
