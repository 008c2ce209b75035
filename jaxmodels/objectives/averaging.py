"""Exponential moving averages of what is learned."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmodels.protocol import PyTree


def update_average(
    average: PyTree, new: PyTree, decay: Float[Array, ""], step: Int[Array, ""]
) -> PyTree:
    """Moves each leaf of an average towards the new one: decay * average + (1 - decay) * new.

    At first the decay is (1 + step) / (10 + step), until that exceeds `decay`, so that the average
    forgets the initial values within the first steps. TensorFlow's ExponentialMovingAverage does
    the same. Source: Polyak & Juditsky 1992, with exponential weights.
    """
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, leaf: old + (1 - decay) * (leaf - old), average, new)
