"""What a beam search does with a model's cache, whose arrays lead with a row for each beam."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxmodels.protocol import PyTree


def repeated(cache: PyTree, beams: int) -> PyTree:
    """Makes the rows of all beams of those of their beginnings."""
    return jax.tree.map(lambda array: jnp.repeat(array, beams, axis=0), cache)


def reordered(cache: PyTree, parent: Int[Array, "batch beams"]) -> PyTree:
    """Gives each beam what its parent, another beam of its text, has."""
    batch, beams = parent.shape
    rows = (jnp.arange(batch)[:, None] * beams + parent).reshape(-1)
    return jax.tree.map(lambda array: jnp.take(array, rows, axis=0), cache)
