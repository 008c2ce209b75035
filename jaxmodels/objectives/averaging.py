"""Exponential moving average of parameters."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmodels.protocol import PyTree


def update_average(
    average: PyTree, new: PyTree, decay: Float[Array, ""], step: Int[Array, ""]
) -> PyTree:
    """decay * average + (1 - decay) * new, per leaf (Polyak & Juditsky 1992, exponentially).

    Early on the decay is (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage, so
    that the average forgets the initial values within the first steps.
    """
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, leaf: old + (1 - decay) * (leaf - old), average, new)
