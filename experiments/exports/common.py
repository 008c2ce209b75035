"""What the exports of several models share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import jax

from jaxmodels.errors import InputError
from jaxmodels.protocol import State

Exports = dict[str, Callable[[State, Path], None]]  # by format


def one_of(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Gives shape and type of one example of a batch."""
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)


def names_of(model: str, tables: Mapping[str, ModuleType]) -> ModuleType:
    """Returns the module with the published names of a model.

    Raises:
      InputError: nobody else publishes such a model.
    """
    if model not in tables:
        raise InputError(
            f"model = {model}; no other library has its architecture: export it as --format"
            f" stablehlo, or train --model {' or '.join(tables)}"
        )
    return tables[model]
