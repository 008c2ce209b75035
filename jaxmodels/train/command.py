"""The command line of an experiment: flags in, exit code out."""

import contextlib
import io
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import jaxmodels
from jaxmodels.errors import InputError, RunError, Stopped
from jaxmodels.interrupts import RESUMABLE, leaving_at_interrupt
from jaxmodels.train import hosts
from jaxmodels.train.config import C, Config, Preset, configure, flags_of, from_record
from jaxmodels.train.experiment import NOTHING, Experiment
from jaxmodels.train.faults import (
    describe_fault,
    is_bad_path,
    require_runtime,
)
from jaxmodels.train.flags import parse
from jaxmodels.train.identity import command_of, workdir_of
from jaxmodels.train.implied import parse_with_implied
from jaxmodels.train.origin import Origin, call_of, program_of
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.source import files_of, source_hash

if TYPE_CHECKING:
    from jaxmodels.train.trainer import Result

FINISHED, FAILED, BAD_INPUT = 0, 1, 2


def main(
    config_class: type[Config],
    build: Callable[..., Experiment],
    presets: Mapping[str, Preset] = NOTHING,
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs an experiment from the command line; returns the exit code.

    0: finished. 1: the run failed. 2: bad input. 75: stopped on request and resumable.

    build: takes the config, and optionally data to use in place of what the config names.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # a shell has closed it: >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the end
    for stream in (sys.stdout, sys.stderr):
        # Otherwise a letter outside of ASCII would raise an error on a terminal of ASCII.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with leaving_at_interrupt():
        code = _exit_code(config_class, build, presets, arguments)
    if arguments is None and (code == FAILED or (code == BAD_INPUT and hosts.are_connected())):
        # Otherwise libraries would go on trying to write, or to stop processes that died, and
        # hold the lock of the run for minutes; and the others of several processes would wait.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _exit_code(
    config_class: type[Config],
    build: Callable[..., Experiment],
    presets: Mapping[str, Preset],
    arguments: Sequence[str] | None,
) -> int:
    try:
        program = program_of(build, arguments) or ""
        arguments = list(sys.argv[1:] if arguments is None else arguments)
        if "--version" in arguments:
            print(version())
            return FINISHED
        config = parse_with_implied(config_class, presets, arguments, program)
        code = _run(config, build, arguments, program)
        sys.stdout.flush()
        return code
    except Stopped as stopped:
        print(stopped)
        return RESUMABLE
    except InputError as error:
        return _say(f"error: {error}", BAD_INPUT)
    except RunError as error:
        return _say(f"failed: {error}", FAILED)
    except BrokenPipeError:
        # Nobody reads on (say, `| head`).
        _close_output()
        return FAILED
    except KeyboardInterrupt:
        return _say("interrupted; the last checkpoint is kept", RESUMABLE)
    except Exception as error:
        fault = describe_fault(error)
        if fault is None:
            raise
        if is_bad_path(error):
            return _say(f"error: {fault}", BAD_INPUT)
        if isinstance(error, OSError) and error.filename is None:
            _close_output()
        return _say(f"failed: {fault}", FAILED)


def _say(line: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(line, file=hosts.stream_of_errors(), flush=True)
    return code


def _close_output() -> None:
    """Drops what standard output still holds; Python would complain again when it flushes it."""
    with contextlib.suppress(OSError):  # a notebook's output is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def version() -> str:
    """Returns the versions of this package, of Python and of jax on one line."""
    from importlib import metadata

    python = platform.python_version()
    return f"jaxmodels {jaxmodels.__version__}, Python {python}, jax {metadata.version('jax')}"


def _run(config: Config, build: Callable, arguments: Sequence[str], program: str) -> int:
    config.validate()
    hosts.connect(config.run.coordinator, config.run.processes, config.run.process_id)
    require_runtime()
    if config.several:
        return _repeat(config, build, program)
    folder = RunFolder(workdir_of(config))
    if config.run.mode == "train" and not config.run.debug:
        result = _train(build, config, command_of(config, program), summarized=True)
        if result.reason:
            print(
                f"ended at step {result.step:,} of {config.run.steps:,}: {result.reason};"
                " a larger --patience, or 0, goes on"
            )
        elif not result.trained:
            extend = "" if config.schedule_ends else "; a larger --steps extends it"
            print(f"the run in {folder.path} is finished{extend}")
        elif not result.finished:
            steps = config.run.steps
            print(f"stopped at step {result.step} of {steps}; the same command goes on")
        print(folder.summary(result.step))
        return FINISHED if result.finished else RESUMABLE

    from jaxmodels.train import modes
    from jaxmodels.train.start import require_all_taken, with_start

    if config.run.mirror:
        from jaxmodels.train.fetching import fetch
        from jaxmodels.train.store import Store

        fetch(Store(config.run.mirror), folder, config)
    record = folder.record()
    is_untrained = record is None and config.run.init_from is not None
    if not is_untrained and (config.run.mode != "train" or record):
        config = _config_of_run(config, folder, record, arguments)
    config.validate()
    if record and (line := _evaluated_elsewhere(config, build, folder, record)):
        print(line)
        return FINISHED
    experiment = None
    if record and config.run.mode in ("predict", "sample", "export") and not config.run.debug:
        experiment = modes.without_examples(build, config, folder, record)
    if experiment is None:
        experiment = modes.rebuilt(build, config, folder, record) if record else build(config)
    if is_untrained:
        experiment = with_start(experiment, config, None)
        require_all_taken(experiment, config)
    if record:
        lenient = configure(config, accept_code_change=True)
        folder.check(record, lenient, source_hash(build), experiment.facts)
    mode = modes.debug if config.run.debug else getattr(modes, config.run.mode)
    if mode is not modes.evaluate:
        hosts.require_one_process("debug" if config.run.debug else f"mode = {config.run.mode}")
    print(mode(experiment, config, folder))
    return FINISHED


def _evaluated_elsewhere(
    config: Config, build: Callable, folder: RunFolder, record: dict
) -> str | None:
    """Returns the line of an evaluation on other data than the run's; None where none is asked."""
    from jaxmodels.train import elsewhere, modes

    own = elsewhere.own_config(config, record)
    if own is None:
        return None
    try:
        experiment = modes.rebuilt(build, own, folder, record)
    except InputError:
        # The run's data are not where they were; the flags may say where they are.
        experiment = modes.without_examples(build, own, folder, record)
        if experiment is None:
            return None
    lenient = configure(own, accept_code_change=True)
    folder.check(record, lenient, source_hash(build), experiment.facts)
    return elsewhere.evaluate_elsewhere(experiment, own, config, folder)


def _repeat(config: Config, build: Callable, program: str) -> int:
    """Trains several seeds, or folds; returns the exit code."""
    from jaxmodels.train import repeat

    outcome, line = repeat.train_seeds(
        config, lambda each: _train(build, each, command_of(each, program), summarized=True)
    )
    print(line)
    codes = {repeat.FINISHED: FINISHED, repeat.FAILED: FAILED, repeat.STOPPED: RESUMABLE}
    return codes[outcome]


def train(build: Callable[..., Experiment], config: Config, *data: object) -> "Result":
    """Trains or resumes the run that a config describes, as the command line does.

    data: what `build` takes besides the config, such as arrays from a notebook.

    Raises:
      InputError: bad input; nothing has been written.
      RunError: the run failed.
    """
    if data:
        config = _with_name_of(data[0], config)
    return _train(build, config, call_of(build, bool(data)), *data)


def _with_name_of(data: object, config: C) -> C:
    """Puts the name of the given data into a config that names no data; otherwise the run's record
    would name the default."""
    name, flag = getattr(data, "name", None), flags_of(config).get("data")
    if (
        not isinstance(name, str)
        or not flag
        or flag.value != flags_of(type(config)())["data"].value
    ):
        return config
    return configure(config, data=name)


def _train(
    build: Callable, config: Config, command: str, *data: object, summarized: bool = False
) -> "Result":
    """Trains or resumes a run. summarized: whether its last scores are printed afterwards."""
    from jaxmodels.train import loop
    from jaxmodels.train.fetching import fetch
    from jaxmodels.train.mirror import Mirror
    from jaxmodels.train.start import with_start
    from jaxmodels.train.store import Store

    config.validate()
    mode, debug = config.run.mode, config.run.debug
    if mode != "train" or debug:
        raise InputError(f"mode = {mode}, debug = {debug}; train() only trains")
    if several := config.several:
        name, given = next(iter(several.items()))
        kind = name.rpartition("-")[0]
        flags = ", ".join(f"{flag}={value}" for flag, value in given.items())
        flag = "repeat" if kind == "seed" else f"{kind}s"
        raise InputError(
            f"{flag} = {len(several)}; train() trains one run: call it for each {kind}, as"
            f" configure(config, {flags}, workdir=...)"
        )
    folder, source = RunFolder(workdir_of(config)), source_hash(build)
    folder.is_summarized = summarized
    record = folder.record()
    if record and not config.run.overwrite:
        folder.check(record, config, source)  # before the data is loaded
    mirror = None
    if config.run.mirror:
        store = Store(config.run.mirror)
        fetch(store, folder, config, source)
        mirror, record = Mirror(store, folder), folder.record()
    origin = Origin(command, files_of(build))
    replaced = record if record and not config.run.overwrite else None
    experiment = build(config, *data)
    experiment = with_start(experiment, config, replaced)
    return loop.train(experiment, config, folder, source, origin, mirror)


def _config_of_run(
    config: Config, folder: RunFolder, record: dict | None, arguments: Sequence[str]
) -> Config:
    """Lays the given flags over the recorded config."""
    if record is None:
        raise InputError(
            f"workdir {folder.path} holds no run; name one with --workdir, or train it"
        )
    folder.require_run_of(config.experiment, record)
    recorded = from_record(type(config), record)
    if config.run.init_from not in (None, recorded.run.init_from):
        raise InputError(
            f"init_from = {config.run.init_from}; the run in {folder.path} has weights of its own,"
            " which are used: leave the flag out"
        )
    if config.run.preset not in ("", recorded.run.preset):
        raise InputError(
            f"preset = {config.run.preset}; the run in {folder.path} has '{recorded.run.preset}';"
            " leave the flag out"
        )
    kept = configure(recorded, mode="train", input=None, output=None, overwrite=False, debug=False)
    return parse(type(config), {}, arguments, default=kept)
