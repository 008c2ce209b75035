"""Helpers of the options of models: a section per architecture, and checks of numbers.

A class of models, such as `ClassifierModels`, is a dataclass with a field `model`, the name of the
chosen architecture, and one field per architecture: its Config, under its name.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from jaxmodels.errors import InputError, require_known
from jaxmodels.protocol import BY_SIZE, Sharding


def chosen_options(models: Any) -> Any:
    """Gives the Config of the chosen architecture.

    Raises:
      InputError: an unknown model.
    """
    sections = _sections(models)
    require_known("model", models.model, sections)
    return sections[models.model]


def validate_options(models: Any) -> None:
    """Validates the Config of the chosen architecture, where it has a method `validate`.

    Raises:
      InputError: an unknown model, or options that it cannot have.
    """
    options = chosen_options(models)
    if hasattr(options, "validate"):
        options.validate()


def with_options(models: Any, **options: Any) -> Any:
    """Replaces options of the chosen architecture.

    Raises:
      InputError: an unknown model, or an option that the model does not have.
    """
    section = chosen_options(models)
    for name, value in options.items():
        if name not in _names(section):
            having = [model for model, other in _sections(models).items() if name in _names(other)]
            fix = f": --model {' or '.join(having)}" if having else ""
            raise InputError(f"{name} = {value}; model '{models.model}' has no such option{fix}")
    return replace(models, **{models.model: replace(section, **options)})


def sharding_of(module: Any) -> Sharding:
    """Returns how a module says that it lies on a mesh; without rules where it says nothing."""
    return getattr(module, "sharding", BY_SIZE)


def require_at_least(least: int, config: Any, *names: str) -> None:
    """Raises InputError if a named number, or a number of a named tuple, is below `least`."""
    for name in names:
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if any(number < least for number in numbers):
            what = "widths of at least" if isinstance(value, tuple) else "at least"
            raise InputError(f"{name} = {value}; expected {what} {least}")


def _sections(models: Any) -> dict[str, Any]:
    values = {field.name: getattr(models, field.name) for field in fields(models)}
    return {name: value for name, value in values.items() if is_dataclass(value)}


def _names(section: Any) -> list[str]:
    return [field.name for field in fields(section)]
