"""Where a run comes from: how it was started, and the files of its code."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from jaxmodels.train.source import unwrapped

_WITH_DATA = "train(build, config, data)"
_WITHOUT_DATA = "train(build, config)"


class Origin(NamedTuple):
    """Where a run comes from, for its record."""

    command: str = ""  # of a shell, or which call in a notebook
    files: Sequence[Path] = ()  # of its code


UNKNOWN = Origin()


def program_of(build: Callable, arguments: Sequence[str] | None = None) -> str | None:
    """Returns how the program was started, as `python -m pkg.module` or `python folder/script.py`;
    None in a notebook.

    arguments: those that `main` was given; then the program is the module of `build`.
    """
    name = "__main__" if arguments is None else unwrapped(build).__module__
    return _command_of(sys.modules.get(name))


def _command_of(module: ModuleType | None) -> str | None:
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    if spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    if file is None:
        return None
    path, here = Path(os.path.abspath(file)), Path.cwd()
    return shlex.join(["python", str(path.relative_to(here) if here in path.parents else path)])


def call_of(build: Callable, has_data: bool) -> str:
    """Describes a call of `train`, which no command repeats."""
    return f"from {program_of(build) or 'a notebook'}: {_WITH_DATA if has_data else _WITHOUT_DATA}"


def was_given_data(record: dict) -> bool:
    """Whether a recorded run got its data in a call, so that no flag names them."""
    return str(record.get("command")).endswith(_WITH_DATA)
