"""Labels as inputs of the encoders and decoders of latent-variable models.

`jaxmodels.ops.latents` describes the methods that objectives call.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Labels = Int[Array, " batch"] | None  # None: the model takes no labels


def one_hot_columns(
    x: Float[Array, "batch size"], labels: Labels, classes: int
) -> Float[Array, "batch columns"]:
    """Appends the one-hot labels as columns, if the model takes labels."""
    if not classes:
        return x
    return jnp.concatenate([x, jax.nn.one_hot(labels, classes, dtype=x.dtype)], axis=-1)


def one_hot_planes(
    x: Float[Array, "batch height width channels"], labels: Labels, classes: int
) -> Float[Array, "batch height width planes"]:
    """Appends a channel per class, one-hot and constant, if the model takes labels."""
    if not classes:
        return x
    planes = jax.nn.one_hot(labels, classes, dtype=x.dtype)[:, None, None]
    return jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:3], classes))], axis=-1)
