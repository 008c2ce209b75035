"""Published weights of several models: which model's they are, and its table of names."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.models.options import chosen_options
from jaxmodels.pretrained.names import Published
from jaxmodels.pretrained.weights import Weights

Tables = Mapping[str, ModuleType]  # the module of names of each model


def table_of(tables: Tables, weights: Weights, expected: str) -> ModuleType:
    """Finds the module of names whose model's weights these are.

    expected: whose files are read, for the message.

    Raises:
      InputError: they are of no such model.
    """
    for names in tables.values():
        if names.is_published(weights):
            return names
    *others, last = tables
    raise InputError(
        f"{weights.path} holds weights of another model than {', '.join(others)} and {last}:"
        f" expected those of {expected}"
    )


def names_of_chosen(tables: Tables, models: Any, weights: Weights) -> Published:
    """Makes the table of names of the chosen model for the weights of a file.

    models: a choice, as `models.options` describes it.

    Raises:
      InputError: a model that nobody publishes.
    """
    if models.model not in tables:
        raise InputError(f"model = {models.model}; expected {' or '.join(tables)}")
    return tables[models.model].published(chosen_options(models), weights)
