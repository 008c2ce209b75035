"""What a beam search does with a model's cache, whose arrays lead with a row for each beam.

A part of a cache may know better than to copy what its beams have: it then has methods of its own,
as `models.layers.attention.Cache`.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxmodels.protocol import PyTree


@runtime_checkable
class Repeats(Protocol):
    """A part of a cache that becomes that of several beams in a way of its own."""

    def repeated(self, beams: int) -> PyTree:
        """Makes the part of all beams of that of their beginnings."""
        ...


@runtime_checkable
class Reorders(Protocol):
    """A part of a cache that is reordered in a way of its own."""

    def reordered(self, parent: Int[Array, "batch beams"], written: Int[Array, " batch"]) -> PyTree:
        """Gives each beam what its parent has at the first `written` places."""
        ...


def repeated(cache: PyTree, beams: int) -> PyTree:
    """Makes the rows of all beams of those of their beginnings."""
    return _mapped(
        cache,
        Repeats,
        lambda part: part.repeated(beams),
        lambda array: jnp.repeat(array, beams, axis=0),
    )


def reordered(
    cache: PyTree, parent: Int[Array, "batch beams"], written: Int[Array, " batch"]
) -> PyTree:
    """Gives each beam what its parent, another beam of its text, has.

    written: the places of the cache that are in use.
    """
    batch, beams = parent.shape
    rows = (jnp.arange(batch)[:, None] * beams + parent).reshape(-1)
    return _mapped(
        cache,
        Reorders,
        lambda part: part.reordered(parent, written),
        lambda array: jnp.take(array, rows, axis=0),
    )


def _mapped(
    cache: PyTree, kind: type, of_part: Callable[[Any], Any], of_array: Callable[[Array], Array]
) -> PyTree:
    def knows(part):
        return isinstance(part, kind)

    def change(part):
        return of_part(part) if knows(part) else of_array(part)

    return jax.tree.map(change, cache, is_leaf=knows)
