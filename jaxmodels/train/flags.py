"""The command line of an experiment as a config."""

import contextlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmodels.errors import InputError, closest, require_known
from jaxmodels.train.config import (
    Config,
    Preset,
    configure,
    flags_of,
    from_record,
    models_with,
)
from jaxmodels.train.experiment import NOTHING
from jaxmodels.train.fitting import fit

_FLOAT = re.compile(r"^[+-]?\d+(\.\d*)?[eE][+-]?\d+$")
_POWER = re.compile(r"[+-]?\d+(\.\d*)?[eE]\+?\d+")


def parse(
    config_class: type[Config],
    presets: Mapping[str, Preset],
    arguments: Sequence[str],
    default: Config | None = None,
    program: str | None = None,
    implied: Mapping[str, Any] = NOTHING,
) -> Config:
    """Parses flags into a config. They are laid over `default`; without one, over the preset that
    they name, then the file that --config names (a run's config.json, or flags as YAML), and then
    what is implied.

    program: how it was started, for --help; None: python -m experiments.NAME.

    Raises:
      InputError: an unknown flag, preset or option, a value of another type, or a file that is
        neither. --help exits with 0.
    """
    arguments, path = _without_config_file(arguments)
    if default is None:
        default = config_class()
        preset = value_of(arguments, "preset")
        recorded = {} if path is None else _read(config_class, Path(path))
        kept = fit("preset", recorded.pop("preset", ""), str)
        preset = kept if preset is None else preset
        if preset:
            require_known("preset", preset, presets)
            default = configure(default, **presets[preset].flags, preset=preset)
        default = configure(default, **{**recorded, **implied})
    model = value_of(arguments, "model")
    if model is not None and "model" in flags_of(default):
        default = configure(default, model=model)
    arguments = _with_whole_numbers(_with_full_names(arguments, default), default)
    program = program or f"python -m experiments.{config_class.experiment}"
    return _parse(config_class, presets, arguments, default, program)


def value_of(arguments: Sequence[str], name: str) -> str | None:
    """Returns the value of --name; the last one if there are several."""
    value = None
    for word, following in zip(arguments, [*arguments[1:], ""]):
        if word == f"--{name}":
            value = following
        elif word.startswith(f"--{name}="):
            value = word.partition("=")[2]
    return value


def _without_config_file(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Returns the arguments without --config FILE, and the file."""
    words, path = [], None
    left = iter(arguments)
    for word in left:
        flag, equals, value = word.partition("=")
        if flag != "--config":
            words.append(word)
            continue
        path = value if equals else next(left, "")
        if not path:
            raise InputError("--config without a file; expected --config FILE")
    return words, path


def _read(config_class: type[Config], path: Path) -> dict[str, Any]:
    """Reads the flags in a file."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads 1e3, which has no point, as a number; the others of YAML take it for text."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("+-0123456789"))
    try:
        text = path.read_text("utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader)
    except OSError as error:
        raise InputError(f"config {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"config {path} is neither JSON nor YAML: {first}") from None
    if not isinstance(content, dict):
        raise InputError(f"config {path}; expected flags, as 'steps: 1000', or a run's config.json")
    if isinstance(content.get("config"), dict) and "experiment" in content:
        if content["experiment"] != config_class.experiment:
            raise InputError(
                f"config {path} is of a run of '{content['experiment']}'; this is"
                f" '{config_class.experiment}'"
            )
        flags = {n: f.value for n, f in flags_of(from_record(config_class, content)).items()}
        # A new run gets a folder of its own.
        return flags | {"workdir": None}
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def _with_full_names(arguments: Sequence[str], default: Config) -> list[str]:
    """Gives each option of the chosen model its full name, --vit.patch."""
    known = flags_of(default)
    words = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
        is_flag = word.startswith("--")
        if is_flag and name in known and len(known[name].path) > 1:
            words.append(f"--{_full_name(default, known[name].path, flag)}{equals}{value}")
            continue
        if is_flag and name not in known and "." not in name:
            models = models_with(default, name)
            if models:
                raise InputError(
                    f"--{flag.removeprefix('--')}: model '{known['model'].value}' has no such"
                    f" option: --model {' or '.join(models)}"
                )
        words.append(word)
    return words


def _full_name(config: Config, path: tuple[str, ...], flag: str) -> str:
    """Returns vit.patch or vit.no-patch for an option of a model, else the bare flag."""
    bare = flag.removeprefix("--")
    models = models_with(config, path[-1])
    return f"{path[-2]}.{bare}" if path[-2] in models else bare


def _with_whole_numbers(arguments: Sequence[str], default: Config) -> list[str]:
    """Writes 1e4 as 10000 where a whole number is expected."""
    whole = {n.replace("_", "-") for n, f in flags_of(default).items() if _is_whole(f.value)}
    words, flag = [], ""
    for word in arguments:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            flag = name.removeprefix("--").rpartition(".")[2]
        number = value if equals else word
        if flag in whole and _POWER.fullmatch(number) and float(number).is_integer():
            words.append(f"{name}={int(float(number))}" if equals else str(int(float(number))))
        else:
            words.append(word)
    return words


def _is_whole(value: Any) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(isinstance(v, int) and not isinstance(v, bool) for v in values)


def _parse(
    config_class: type[Config],
    presets: Mapping[str, Preset],
    arguments: Sequence[str],
    default: Config,
    program: str,
) -> Config:
    import tyro

    printed = io.StringIO()
    description = _description(config_class)
    if presets:
        description += f"\n\nPresets: {', '.join(presets)}"
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                config_class, prog=program, args=arguments, default=default, description=description
            )
    except SystemExit as ended:
        if not ended.code:
            raise
        raise InputError(_one_line(printed.getvalue(), default)) from None


def _description(config_class: type) -> str:
    """Returns the docstring of a dataclass, or of its nearest base that has one. Python puts a
    signature in the place of one that is not written."""
    written = (c.__doc__ for c in config_class.__mro__ if c.__doc__)
    return next(text.strip() for text in written if not re.match(r"\w+\(", text))


def _one_line(text: str, default: Config) -> str:
    """Puts tyro's boxed message on one line, and adds the nearest flag where it names none."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"╭.*╮|For full helptext.*|[\u2500-\u257f]+", " ", text)
    text = " ".join(text.split())
    wrong = re.search(r"Error parsing (--[\w.-]+): (.*?) Argument helptext: \1 (.*)", text)
    if wrong:
        flag, reason, expected = wrong.groups()
        value = re.search(r"'([^']*)'$", reason)
        given = f"{flag} {value[1]}" if value else f"{flag}: {reason}"
        kind, _, helptext = expected.removeprefix(f"{flag} ").partition(" ")
        return f"{given}; expected {kind}: {helptext}"
    return _of_choice(text) or _of_unknown(text, default) or text


def _of_choice(text: str) -> str | None:
    """Rewrites tyro's message on a missing value, or on one that is none of the allowed ones."""
    if missing := re.search(r"Missing value for argument '(--[\w.-]+)'", text):
        return f"{missing[1]} has no value; expected one after it"
    choice = re.search(
        r"invalid choice '(.*?)' for argument '(.*?)'\. Expected one of \((.*?)\)", text
    )
    if choice is None:
        return None
    value, flag, allowed = choice.groups()
    known = [name.strip(" '\"") for name in allowed.split(",")]
    hint = closest(value, known)
    return f"{flag} {value}{hint} Expected {', '.join(filter(None, known))}"


def _of_unknown(text: str, default: Config) -> str | None:
    """Rewrites tyro's message on a flag that it does not know."""
    unknown = re.search(r"Unrecognized options: ([^\s,]+)", text)
    if unknown is None or "imilar" in text:
        return None
    word = unknown[1]
    if not word.startswith("--"):
        return f"'{word}' is no flag; expected --FLAG VALUE"
    meant = re.search(r"Perhaps you meant: (--\S+) (.*?)(?= --\w|$)", text)
    if meant:
        return f"unknown flag {word}; did you mean {meant[1]}? {meant[1]} {meant[2]}"
    known = [f"--{name.replace('_', '-')}" for name in flags_of(default)]
    hint = closest(word, known).rstrip(".")
    return f"unknown flag {word}{hint or '; --help lists all'}"
