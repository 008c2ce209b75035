"""Pooling and upsampling whose gradients are fast on every backend."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def max_pool(
    x: Float[Array, "batch height width channels"],
    window: int = 2,
    strides: int | None = None,
    padding: int = 0,
) -> Float[Array, "batch out_height out_width channels"]:
    """Takes the maximum over windows, which by default do not overlap.

    A side becomes (side + 2 * padding - window) // strides + 1: a remainder at the lower or right
    edge is dropped. Padding is never the maximum. Values of a window that tie for the maximum share
    the gradient; they share it equally unless windows overlap or are padded.

    The maximum is taken over shifted images. On a CPU the gradient of `reduce_window` and the
    reductions of `jnp.max` are several times slower.

    Raises:
      ValueError: a window could hold nothing but padding.
    """
    if padding >= window:
        raise ValueError(f"padding {padding}; expected less than the window, {window}")
    if strides in (None, window) and not padding:
        return _max_in_windows(_windows(x, window))
    for axis in (1, 2):
        x = _max_along(x, axis, window, strides or window, padding)
    return x


@jax.custom_jvp
def _max_in_windows(
    windows: Float[Array, "batch rows window columns window channels"],
) -> Float[Array, "batch rows columns channels"]:
    """Takes the maximum over whole windows in one pass, with the derivative of `jnp.max`."""
    return reduce(jnp.maximum, _places(windows))


@_max_in_windows.defjvp
def _derivative(primals, tangents):
    (windows,), (tangent,) = primals, tangents
    largest = _max_in_windows(windows)
    ties = sum((place == largest).astype(largest.dtype) for place in _places(windows))
    shares = jnp.where(windows == _in_windows(largest), _in_windows(1 / ties), 0)
    return largest, jnp.sum(tangent * shares, axis=(2, 4))


def _places(windows: Array) -> list[Array]:
    """Lists the arrays of the pixels at the first, second, ... place of each window."""
    rows, columns = windows.shape[2], windows.shape[4]
    return [windows[:, :, i, :, j] for i in range(rows) for j in range(columns)]


def _in_windows(pooled: Array) -> Array:
    return pooled[:, :, None, :, None]


def _max_along(x: Array, axis: int, window: int, strides: int, padding: int) -> Array:
    """Takes the maximum over padded windows along one axis."""
    count = (x.shape[axis] + 2 * padding - window) // strides + 1
    # A phase is the pixels at one position modulo the stride. XLA takes phases of a reshaped array
    # faster than slices with a stride.
    x = _padded(x, axis, 0, -x.shape[axis] % strides)
    phases = x.reshape(*x.shape[:axis], -1, strides, *x.shape[axis + 1 :])
    places = []
    for offset in range(-padding, window - padding):
        shift, phase = divmod(offset, strides)
        place = lax.index_in_dim(phases, phase, axis + 1, keepdims=False)
        places.append(_padded(place, axis, -shift, count + shift - place.shape[axis]))
    return reduce(jnp.maximum, places)


def _padded(x: Array, axis: int, low: int, high: int) -> Array:
    """Pads an axis with -inf, which is never the maximum; negative padding crops it."""
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (low, high, 0)
    return lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), edges)


def average_pool(
    x: Float[Array, "batch height width channels"], window: int = 2
) -> Float[Array, "batch out_height out_width channels"]:
    """Averages over windows that do not overlap, and drops a remainder at lower and right edges."""
    return jnp.mean(_windows(x, window), axis=(2, 4))


def upsample(
    x: Float[Array, "batch height width channels"], factor: int = 2
) -> Float[Array, "batch out_height out_width channels"]:
    """Enlarges images by making each pixel a square of `factor` x `factor` pixels."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, factor, width, factor, channels))
    return x.reshape(batch, height * factor, width * factor, channels)


def upsample_bilinear(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch 2*height 2*width channels"]:
    """Enlarges images to twice the sides, with the values of `jax.image.resize(..., "bilinear")`.

    That function multiplies by matrices, which is several times slower on a CPU.
    """
    for axis in (1, 2):
        before, after = _shifted(x, axis, 1), _shifted(x, axis, -1)
        pairs = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
        x = pairs.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
    return x


def downsample_bilinear(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height//2 width//2 channels"]:
    """Reduces images to half the sides, with the values of `jax.image.resize(..., "bilinear")`.

    The sides must be even. The filter is 1 3 3 1, divided by the sum of its weights inside the
    image.
    """
    for axis in (1, 2):
        count = x.shape[axis] // 2
        pairs = x.reshape(*x.shape[:axis], count, 2, *x.shape[axis + 1 :])
        even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in range(2))
        weights = np.full(count, 8, np.float32)
        weights[0] -= 1
        weights[-1] -= 1
        scale = (1 / weights).reshape(-1, *[1] * (x.ndim - axis - 1)).astype(x.dtype)
        around = _shifted(odd, axis, 1, edge=False) + _shifted(even, axis, -1, edge=False)
        x = (3 * (even + odd) + around) * scale
    return x


def _shifted(x: Array, axis: int, by: int, edge: bool = True) -> Array:
    """Moves x by one pixel, and fills the gap with the edge's pixel or with zero."""
    end = 0 if by > 0 else x.shape[axis] - 1
    new = lax.slice_in_dim(x, end, end + 1, axis=axis)
    new = new if edge else jnp.zeros_like(new)
    if by > 0:
        return jnp.concatenate([new, lax.slice_in_dim(x, 0, -1, axis=axis)], axis)
    return jnp.concatenate([lax.slice_in_dim(x, 1, None, axis=axis), new], axis)


def _windows(x: Array, window: int) -> Float[Array, "batch rows window columns window channels"]:
    """Divides images into windows that do not overlap, without a remainder at the edges."""
    batch, height, width, channels = x.shape
    rows, columns = height // window, width // window
    x = x[:, : rows * window, : columns * window]
    return x.reshape(batch, rows, window, columns, window, channels)
