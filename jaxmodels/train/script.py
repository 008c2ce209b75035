"""The script of a run: the module with its config class and its `build`."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.train.config import Config
from jaxmodels.train.experiment import Experiment


def find_script(
    run: Path, experiment: str, hint: str, module: str | None = None
) -> tuple[type[Config], Callable[..., Experiment]]:
    """Finds the config class and the `build` of a run's experiment.

    hint: what to do where there are none. module: its name, or a Python file; None:
    experiments.NAME.

    Raises:
      InputError: there is no such module, or it lacks one of them.
    """
    of = f"{run} is a run of '{experiment}'"
    if module is None and not experiment.isidentifier():
        raise InputError(f"{of}, which names no module: {hint}")
    module = module or f"experiments.{experiment}"
    try:
        loaded = _load(module)
    except (ImportError, OSError, ValueError, TypeError) as error:
        raise InputError(f"{of}; module {module} cannot be imported ({error}): {hint}") from None
    # A module may use the class Config itself, which it has imported.
    classes = [
        value
        for value in vars(loaded).values()
        if isinstance(value, type) and issubclass(value, Config) and value.experiment == experiment
    ]
    build: Any = getattr(loaded, "build", None)
    if not classes or build is None:
        lacks = "function 'build'" if classes else f"Config with experiment = '{experiment}'"
        raise InputError(f"{of}; module {loaded.__name__} has no {lacks}: {hint}")
    # That of the script comes before one that it imports.
    classes.sort(key=lambda kind: kind.__module__ != loaded.__name__)
    return classes[0], build


def _load(module: str) -> ModuleType:
    if not module.endswith(".py"):
        return importlib.import_module(module)
    spec = importlib.util.spec_from_file_location(Path(module).stem, module)
    if spec is None or spec.loader is None:
        raise ImportError(f"{module} cannot be loaded")
    loaded = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
