"""Flags that published weights imply: a preset, with which those that are given have to agree."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.train.config import C, Config, Preset, configure, flags_of
from jaxmodels.train.flags import parse
from jaxmodels.train.run_folder import START, RunFolder


def with_implied_flags(
    config: C, presets: Mapping[str, Preset], arguments: Sequence[str], program: str = ""
) -> C:
    """Returns the config with the flags that the weights imply which it starts from, if these are
    published ones.

    Raises:
      InputError: the weights cannot be read, are of no model of the experiment, or imply another
        value than the given one.
    """
    implied = _implied_by(config)
    if not implied:
        return config
    everything = {**_alone_by(config), **implied}
    parsed: Any = parse(type(config), presets, arguments, program=program, implied=everything)
    wanted, flags = flags_of(configure(parsed, **implied)), flags_of(parsed)
    for name in implied:
        if name not in flags or flags[name].value != wanted[name].value:
            given = flags[name].value if name in flags else f"of model {flags['model'].value}"
            raise InputError(
                f"{name} = {given}; the weights in {config.run.init_from} are of"
                f" {wanted[name].value}: leave the flag out"
            )
    return parsed


def _implied_by(config: Config) -> dict[str, Any]:
    from jaxmodels.train.start import is_run, open_published, source_of

    path = source_of(config)
    if path is None or (path.exists() and is_run(path)):
        return {}
    if path.exists():
        return dict(config.flags_of_weights(open_published(path)))
    workdir = config.run.workdir
    record = RunFolder(workdir).record() if workdir else None
    return dict((record or {}).get("facts", {}).get(START, {}).get("flags", {}))


def _alone_by(config: Config) -> dict[str, Any]:
    """Returns defaults for weights that are used as they are, without a run."""
    from jaxmodels.train.start import open_published, source_of

    path, workdir = source_of(config), config.run.workdir
    has_run = workdir is not None and RunFolder(workdir).record() is not None
    if config.run.mode == "train" or has_run or path is None or not path.exists():
        return {}
    return dict(config.flags_of_weights_alone(open_published(path)))
