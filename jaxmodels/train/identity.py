"""The identity of a run, its default folder and its command."""

import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import Any

from jaxmodels.cache import TOKENIZERS, cache_folder
from jaxmodels.files import is_path
from jaxmodels.train.config import Config, Flag, Role, configure, flags_of, to_json

# Flags whose values may be paths, what lies at which is among the facts of the data.
_PATHS = ("data", "tokenizer")


def identity(config: Config) -> dict[str, Any]:
    """Returns the flags that identify a run: another value of one makes another run.

    A path of data or of a tokenizer is left out, because the facts of the data identify what lies
    there. Of weights to start from, it only counts whether there are any, for the same reason.
    """
    values, flags = to_json(config), flags_of(config)
    values["init_from"] = None if values["init_from"] is None else "given"
    return {
        name: value
        for name, value in values.items()
        if flags[name].role in (None, Role.READ)
        and not (name == "steps" and not config.schedule_ends)
        and not (name in _PATHS and is_path(str(value)))
    }


def free_when_read(config: Config) -> set[str]:
    """Returns the flags of the identity that may differ when a run is evaluated or sampled from."""
    return {name for name, flag in flags_of(config).items() if flag.role is Role.READ}


def workdir_of(config: Config) -> Path:
    """Returns the run folder: as named, or runs/EXPERIMENT/DATA-MODEL-SEED-HASH."""
    return Path(config.run.workdir or _folder_of(config, identity(config), str(config.run.seed)))


def repeats_folder_of(config: Config) -> Path:
    """Returns the folder of several seeds: as named, or runs/EXPERIMENT/DATA-MODEL-seeds-HASH, the
    same for any seeds."""
    named = {name: value for name, value in identity(config).items() if name != "seed"}
    return Path(config.run.workdir or _folder_of(config, named, "seeds"))


def _folder_of(config: Config, named: dict[str, Any], seed: str) -> Path:
    """Makes the default folder of an identity."""
    named = dict(named)
    flags = flags_of(config)
    parts = []
    if "data" in flags:
        data = str(flags["data"].value)
        path = Path(data).expanduser().resolve()
        # The absolute path, so that every way to write a folder gives the same hash.
        named["data"] = str(path) if is_path(data) else data
        parts.append(path.name if is_path(data) else data.replace(os.sep, "_"))
    if "tokenizer" in flags and is_path(str(flags["tokenizer"].value)):
        path = Path(str(flags["tokenizer"].value))
        # One that is kept lies in a folder that is named by its content, in whichever cache.
        named["tokenizer"] = path.name if path.parent == cache_folder(TOKENIZERS) else str(path)
    if "model" in named:  # elsewhere there is one only
        parts.append(str(named["model"]))
    if config.run.init_from is None:
        named.pop("init_from")  # as the folder's name was before there was such a flag
    else:
        source = Path(config.run.init_from).expanduser().resolve()
        named["init_from"] = [str(source), config.run.init_checkpoint]
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs") / config.experiment / "-".join([*parts, seed, digest])


def command_of(config: Config, program: str = "") -> str:
    """Writes the program with the flags that differ from their defaults, for a shell. Flags of
    `Role.VERB` are left out, the preset among them: its flags are in the command.

    program: how it is started; empty: python -m experiments.NAME.
    """
    standard = type(config)()
    flags = flags_of(config)
    if "model" in flags:
        standard = configure(standard, model=flags["model"].value)
    defaults = flags_of(standard)
    words = []
    if "model" in flags and flags["model"].value != flags_of(type(config)())["model"].value:
        words += ["--model", str(flags["model"].value)]
    for name, flag in flags.items():
        if flag.role is not Role.VERB and flag.value != defaults[name].value:
            words += _written(flag)
    program = program or f"python -m experiments.{config.experiment}"
    return " ".join([program, *([shlex.join(words)] if words else [])])


def _written(flag: Flag) -> list[str]:
    """Writes a flag as words of the command line."""
    name = flag.name.replace("_", "-")
    value = flag.value
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, (tuple, list)):
        return [f"--{name}", *map(str, value)]
    if str(value).startswith("-"):
        return [f"--{name}={value}"]  # a word of its own would be read as a flag
    return [f"--{name}", str(value)]
