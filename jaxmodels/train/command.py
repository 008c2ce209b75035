"""The command line of an experiment: flags in, exit code out."""

import contextlib
import dataclasses
import io
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from jaxmodels.errors import InputError, RunError, Stopped, require_known
from jaxmodels.train.config import TrainConfig, from_json, workdir_of
from jaxmodels.train.environment import source_hash
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.run_folder import RunFolder

if TYPE_CHECKING:
    from jaxmodels.train.loop import Result


def main(
    config_class: type[TrainConfig],
    build: Callable[[TrainConfig], Experiment],
    presets: Mapping[str, TrainConfig] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs an experiment from the command line; the exit code.

    0: done, or stopped on request and resumable. 1: the run failed. 2: bad input.
    """
    try:
        arguments = list(sys.argv[1:] if arguments is None else arguments)
        print(_run(parse(config_class, presets or {}, arguments), build, arguments))
        return 0
    except Stopped as stopped:
        print(stopped)
        return 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Nobody reads on (say, `| head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted; the last checkpoint is kept", file=sys.stderr)
        return 130


def _run(config: TrainConfig, build: Callable, arguments: Sequence[str]) -> str:
    folder = RunFolder(workdir_of(config))
    if config.mode == "train" and not config.debug:
        result = train(build, config)
        if not result.trained:
            extend = "" if config.schedule_ends else "; a larger --steps extends it"
            print(f"the run in {folder.path} is finished{extend}")
        elif not result.finished:
            print(f"stopped at step {result.step} of {config.steps}; the same command goes on")
        return folder.summary(result.step)

    from jaxmodels.train import modes

    record = folder.record()
    if config.mode != "train" or record:
        config = _config_of_run(config, folder, record, arguments)
    config.validate()
    experiment = build(config)
    if record:
        lenient = dataclasses.replace(config, accept_code_change=True)
        folder.check(record, lenient, _source(config), experiment.facts)
    mode = modes.debug if config.debug else getattr(modes, config.mode)
    return mode(experiment, config, folder)


def train(build: Callable[[TrainConfig], Experiment], config: TrainConfig) -> "Result":
    """Trains or resumes the run that a config describes, as the command line does.

    Raises:
      InputError: bad input; nothing has been written.
      RunError: the run failed.
    """
    from jaxmodels.train import loop

    config.validate()
    if config.mode != "train" or config.debug:
        raise InputError(f"mode = {config.mode}, debug = {config.debug}; train() only trains")
    folder, source = RunFolder(workdir_of(config)), _source(config)
    record = folder.record()
    if record and not config.overwrite:
        folder.check(record, config, source)  # before the data is loaded
    return loop.train(build(config), config, folder, source)


def _source(config: TrainConfig) -> str:
    script = getattr(sys.modules[type(config).__module__], "__file__", None)
    return source_hash(script)


def parse(
    config_class: type[TrainConfig],
    presets: Mapping[str, TrainConfig],
    arguments: Sequence[str],
    default: TrainConfig | None = None,
) -> TrainConfig:
    """The config that the flags describe, starting from the preset among them or from `default`.

    Raises:
      InputError: an unknown flag or preset, or a value of another type. --help exits with 0.
    """
    if default is None:
        default = config_class()
        preset = _parse(config_class, arguments, default).preset
        if preset:
            require_known("preset", preset, presets)
            default = dataclasses.replace(presets[preset], preset=preset)
    return _parse(config_class, arguments, default)


def _parse(config_class, arguments, default) -> TrainConfig:
    import tyro

    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            name = f"python -m experiments.{config_class.experiment}"
            return tyro.cli(config_class, prog=name, args=arguments, default=default)
    except SystemExit as ended:
        if not ended.code:
            raise
        # tyro draws a box of several lines with a title: what it says in it, on one line.
        text = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue())
        text = re.sub(r"╭.*╮|For full helptext.*|[\u2500-\u257f]+", " ", text)
        raise InputError(" ".join(text.split())) from None


def _config_of_run(config, folder: RunFolder, record: dict | None, arguments) -> TrainConfig:
    """The recorded config with the flags given laid over it; they may not make it another run."""
    if record is None:
        raise InputError(
            f"workdir {folder.path} holds no run; name one with --workdir, or train it"
        )
    recorded = from_json(type(config), record["config"])
    if config.preset not in ("", recorded.preset):
        raise InputError(
            f"preset = {config.preset}; the run in {folder.path} has '{recorded.preset}';"
            " leave the flag out"
        )
    keep = {"mode": "train", "output": None, "overwrite": False, "debug": False}
    return parse(type(config), {}, arguments, default=dataclasses.replace(recorded, **keep))
