"""Flags that published weights imply: a preset, with which those that are given have to agree."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.train.config import C, Config, Preset, configure, flags_of
from jaxmodels.train.flags import parse, value_of
from jaxmodels.train.run_folder import START, RunFolder


def parse_with_implied(
    config_class: type[C], presets: Mapping[str, Preset], arguments: Sequence[str], program: str
) -> Config:
    """Parses flags, as `parse`; published weights that --init-from names lay theirs over a preset.

    Raises:
      InputError: also where the weights cannot be read, are of no model of the experiment, or imply
        another value than the given one.
    """
    source, workdir, mode = (value_of(arguments, name) for name in ("init-from", "workdir", "mode"))
    implied = _implied_by(config_class, source, workdir) if source else {}
    alone = _alone_by(config_class, source, workdir, mode) if source else {}
    config = parse(config_class, presets, arguments, program=program, implied={**alone, **implied})
    if implied:
        _require_agreement(config, implied, str(source))
    return config


def _implied_by(config_class: type[Config], source: str, workdir: str | None) -> Mapping[str, Any]:
    """Returns the flags that weights imply; where these are gone, those that a run has recorded."""
    from jaxmodels.train.start import is_run, open_published

    path = Path(source).expanduser()
    if path.exists():
        return {} if is_run(path) else config_class.flags_of_weights(open_published(path))
    record = RunFolder(workdir).record() if workdir else None
    return (record or {}).get("facts", {}).get(START, {}).get("flags", {})


def _alone_by(
    config_class: type[Config], source: str, workdir: str | None, mode: str | None
) -> Mapping[str, Any]:
    """Returns defaults for published weights that are used as they are, without a run or data."""
    from jaxmodels.train.start import is_run, open_published

    path = Path(source).expanduser()
    has_run = workdir is not None and RunFolder(workdir).record() is not None
    if mode not in ("predict", "export") or has_run or not path.exists() or is_run(path):
        return {}
    return config_class.flags_of_weights_alone(open_published(path))


def _require_agreement(config: Config, implied: Mapping[str, Any], source: str) -> None:
    """Raises InputError for a flag of another value than the weights imply."""
    wanted, flags = flags_of(configure(config, **implied)), flags_of(config)
    # The model comes first: others have other options.
    for name in sorted(implied, key=lambda name: name != "model"):
        if not config.agrees(name, flags[name].value, wanted[name].value):
            raise InputError(
                f"{name} = {flags[name].value}; the weights in {source} have"
                f" {wanted[name].value}: leave the flag out"
            )
