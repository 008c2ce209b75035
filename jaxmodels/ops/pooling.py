"""Pooling and its inverse, whose gradients are fast everywhere."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def max_pool(
    x: Float[Array, "batch height width channels"], window: int = 2
) -> Float[Array, "batch height/window width/window channels"]:
    """Maximum over non-overlapping windows; a remainder at the lower or right edge is dropped.

    Reshape and max, since the gradient through `reduce_window` is 3-4x slower on a CPU.
    Where several values of a window tie for the maximum, they share the gradient equally.
    """
    return jnp.max(_windows(x, window), axis=(2, 4))


def average_pool(
    x: Float[Array, "batch height width channels"], window: int = 2
) -> Float[Array, "batch height/window width/window channels"]:
    """Mean over non-overlapping windows; a remainder at the lower or right edge is dropped."""
    return jnp.mean(_windows(x, window), axis=(2, 4))


def upsample(
    x: Float[Array, "batch height width channels"], factor: int = 2
) -> Float[Array, "batch height*factor width*factor channels"]:
    """Nearest neighbour: each pixel becomes a square."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, factor, width, factor, channels))
    return x.reshape(batch, height * factor, width * factor, channels)


def _windows(x: Array, window: int) -> Float[Array, "batch rows window columns window channels"]:
    batch, height, width, channels = x.shape
    rows, columns = height // window, width // window
    x = x[:, : rows * window, : columns * window]
    return x.reshape(batch, rows, window, columns, window, channels)
