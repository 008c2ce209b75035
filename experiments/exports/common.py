"""What the exports of several models share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import jax

from jaxmodels.errors import InputError
from jaxmodels.objectives.descent import learned_of
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.pretrained.programs import Program, exports_of
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


def prediction_programs(
    name: str,
    predict: Callable[..., Mapping[str, jax.Array]],
    prepare: Change,
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    meanings: Mapping[str, str],
    facts: Mapping[str, Any] = MappingProxyType({}),
    *,
    parts: Sequence[str] = (),
    beside: Callable[[Path], object] | None = None,
) -> Exports:
    """Exports an objective's function (state, batch, key) of what a run has learned.

    prepare: makes its batches of the inputs; neither of them uses its key. inputs: of one example.
    parts: of the state, beside "params". facts, beside: as in `exports_of`.
    """
    no_key: Any = None

    def run(variables: Any, given: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        return dict(predict({**variables, "ema": {}}, prepare(given, no_key), no_key))

    program = Program(run, inputs, meanings, lambda state: learned_of(state, *parts))
    return exports_of({name: program}, facts, beside)
