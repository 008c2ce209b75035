"""The layers of a model, from the order in which it makes its parameters."""

import re

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.tree_util import DictKey
from jaxtyping import Array, Int

from jaxmodels.objectives.parameter_kinds import kind_of
from jaxmodels.protocol import PyTree

_NUMBERED = re.compile(r"\d$")


def depths_below_top(params: PyTree) -> PyTree:
    """Returns for each parameter how many layers are above its own.

    A layer is a module whose name ends in a number, as block_3, layer2_0 and Dense_1, and has a
    kernel; what has none, such as a BatchNorm_0, belongs to the layer before it. What a model has
    before its first layer, and all embeddings, are one below it; what it has after the last, such
    as a final norm and the head, is one above it. ELECTRA and BEiT divide transformers so.

    params: in the order in which the model makes them, which is that of its layers; a tree that
      has passed through jit or `jax.tree.map` is in the order of the alphabet.
    """
    flat = flatten_dict(params)
    kinds = {path: kind_of(tuple(map(DictKey, path)), leaf) for path, leaf in flat.items()}
    units = {path: _unit(path) for path in flat}
    layers = dict.fromkeys(units[p] for p in flat if units[p] and kinds[p] in ("kernel", "head"))
    numbers = {unit: number for number, unit in enumerate(layers, 1)}
    last, current, reached, depths = len(layers), 0, 0, {}
    for path, unit in units.items():
        if unit in numbers:
            current = numbers[unit]
            reached = max(reached, current)
        elif not unit and reached == last > 0:
            current = last + 1
        depths[path] = 0 if kinds[path] in ("embedding", "fixed") else current
    top = max(depths.values())
    return unflatten_dict({path: _count(top - depth) for path, depth in depths.items()})


def _unit(path: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the shortest beginning of a path that ends in a numbered module; () if none does."""
    ends = (end for end, name in enumerate(path[:-1], 1) if _NUMBERED.search(name))
    end = next(ends, 0)
    return path[:end]


def _count(number: int) -> Int[Array, ""]:
    return jnp.int32(number)
