"""Labels as inputs of encoders and decoders: what all latent-variable models share.

`jaxmodels.ops.latents` describes the methods that objectives call.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def one_hot_columns(
    x: Float[Array, "batch size"], labels: Int[Array, " batch"] | None, classes: int
) -> Float[Array, "batch columns"]:
    """Puts the labels beside x, if the model knows classes."""
    if not classes:
        return x
    return jnp.concatenate([x, jax.nn.one_hot(labels, classes, dtype=x.dtype)], axis=-1)


def one_hot_planes(
    x: Float[Array, "batch height width channels"],
    labels: Int[Array, " batch"] | None,
    classes: int,
) -> Float[Array, "batch height width planes"]:
    """Puts a plane per class behind the channels of x, if the model knows classes."""
    if not classes:
        return x
    planes = jax.nn.one_hot(labels, classes, dtype=x.dtype)[:, None, None]
    return jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:3], classes))], axis=-1)
