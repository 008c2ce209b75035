"""Convolutions at stride 1 by minimal filtering: fewer products, between transformed tiles.

Lavin and Gray (2016), section 4: of r neighbouring taps, m outputs are

    A' [(G kernel) * (B' x)]        with m + r - 1 products instead of m r,

one axis after the other. By the transposition principle, the same matrices yield the gradient of
the kernel. Rows go by tiles of 2, columns by tiles of 4, so that 3x3 takes a third of the products
and rounds 2-4 times as much as a plain sum: with tiles of 4 both ways it would be ten times.
"""

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxmodels.ops.convolution_native import Pair, transposed_kernel
from jaxmodels.ops.space_to_depth import depth_to_space, kernel_to_depth, space_to_depth

_TILES = (2, 4)  # of outputs, in rows and columns
# Where two polynomials are multiplied, in an order that keeps rounding low (Barabasz et al. 2020,
# table 1); and at infinity.
_POINTS = (0, 1, -1, 1 / 2, -2)


class _Transforms(NamedTuple):
    """The matrices of m outputs of r taps."""

    x: Float[np.ndarray, "m+r-1 m+r-1"]
    kernel: Float[np.ndarray, "m+r-1 r"]
    y: Float[np.ndarray, "m m+r-1"]


@cache
def _transforms(outputs: int, taps: int) -> _Transforms:
    """By Toom-Cook: x and y evaluate at the points, the kernel too, divided by what is left of
    Lagrange's polynomials when those of x are whole."""
    points = np.array(_POINTS[: outputs + taps - 2])
    others = [np.delete(points, i) for i in range(len(points))]
    x = [[*np.poly1d(other, r=True).coef[::-1], 0] for other in others] + [np.poly(points)[::-1]]
    scales = [np.prod(point - other) for point, other in zip(points, others, strict=True)]
    kernel = np.vander(points, taps, increasing=True) / np.array(scales)[:, None]
    y = np.vander(points, outputs, increasing=True)
    last = np.eye(outputs + taps - 1)[-1]
    return _Transforms(
        np.array(x), np.vstack([kernel, last[-taps:]]), np.vstack([y, last[-outputs:]]).T
    )


def convolve(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "kernel_height kernel_width inputs outputs"],
    padding: tuple[Pair, Pair],
    strides: Pair = (1, 1),
) -> Float[Array, "batch out_height out_width outputs"]:
    """The convolution; strides must divide the kernel's size."""
    if strides == (1, 1):
        return _convolve(x, kernel, padding, axis=2)
    edges = []
    for n, k, s, (low, high) in zip(x.shape[1:3], kernel.shape, strides, padding, strict=False):
        windows = (n + low + high - k) // s + 1
        edges.append((low, (windows - 1) * s + k - n - low, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
    return _convolve(
        space_to_depth(x, strides), kernel_to_depth(kernel, strides), ((0, 0), (0, 0)), axis=2
    )


def input_gradient(
    g: Float[Array, "batch out_height out_width outputs"],
    kernel: Float[Array, "kernel_height kernel_width inputs outputs"],
    padding: tuple[Pair, Pair],
    strides: Pair,
    in_size: Pair,
) -> Float[Array, "batch height width inputs"]:
    """What `convolve` transposes to in its input."""
    kernel = transposed_kernel(kernel_to_depth(kernel, strides), groups=1)
    reach = tuple((taps - 1, taps - 1) for taps in kernel.shape[:2])
    x = depth_to_space(_convolve(g, kernel, reach, axis=2), strides)
    edges = [
        (-low, size + low - n, 0)
        for n, size, (low, _) in zip(x.shape[1:3], in_size, padding, strict=True)
    ]
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _convolve(x: Array, kernel: Array, padding, axis: int) -> Array:
    if axis == 0:
        return jnp.matmul(x, kernel[0, 0])
    taps, pads = kernel.shape[axis - 1], padding[axis - 1]
    size = x.shape[axis] + sum(pads) - taps + 1
    tiles, transforms = _tiles(size, taps, axis)
    step = len(transforms.y)
    parts = _entries(x, tiles, step, len(transforms.x), pads[0], axis)
    each = [lax.slice_in_dim(kernel, i, i + 1, axis=axis - 1) for i in range(taps)]
    products = [
        _convolve(_sum(row, parts), _sum(weights, each), padding, axis - 1)
        for row, weights in zip(transforms.x, transforms.kernel, strict=True)
    ]
    y = jnp.stack([_sum(row, products) for row in transforms.y], axis + 1)
    y = y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])
    return lax.slice_in_dim(y, 0, size, axis=axis)


def kernel_gradient(
    x: Float[Array, "batch height width inputs"],
    g: Float[Array, "batch out_height out_width outputs"],
    padding: tuple[Pair, Pair],
    kernel_size: Pair,
) -> Float[Array, "kernel_height kernel_width inputs outputs"]:
    """What `convolve` at stride 1 transposes to in its kernel."""
    return _kernel_gradient(x, g, padding, kernel_size, axis=2)


def _kernel_gradient(x: Array, g: Array, padding, kernel_size: Pair, axis: int) -> Array:
    if axis == 0:
        return (x.reshape(-1, x.shape[-1]).T @ g.reshape(-1, g.shape[-1]))[None, None]
    taps, (low, _) = kernel_size[axis - 1], padding[axis - 1]
    tiles, transforms = _tiles(g.shape[axis], taps, axis)
    step = len(transforms.y)
    xs = _entries(x, tiles, step, len(transforms.x), low, axis)
    gs = _entries(g, tiles, step, step, 0, axis)
    products = [
        _kernel_gradient(_sum(row, xs), _sum(column, gs), padding, kernel_size, axis - 1)
        for row, column in zip(transforms.x, transforms.y.T, strict=True)
    ]
    return jnp.concatenate([_sum(row, products) for row in transforms.kernel.T], axis - 1)


def _tiles(size: int, taps: int, axis: int) -> tuple[int, _Transforms]:
    """How many tiles yield so many outputs, and their matrices."""
    outputs = min(_TILES[axis - 1], size)
    return -(-size // outputs), _transforms(outputs, taps)


def _entries(x: Array, tiles: int, step: int, entries: int, low: int, axis: int) -> list[Array]:
    """x, padded by `low` in front, at each place of all tiles, which begin `step` apart."""
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (low, (tiles - 1) * step + entries - x.shape[axis] - low, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), edges)
    last = (tiles - 1) * step + 1
    return [lax.slice_in_dim(x, i, i + last, step, axis) for i in range(entries)]


def _sum(weights: Float[np.ndarray, " terms"], terms: list[Array]) -> Array:
    """Weighted, with no operation for weights of 0 and 1."""
    total = None
    for weight, term in zip(weights, terms, strict=True):
        if weight:
            part = term if weight == 1 else -term if weight == -1 else term * float(weight)
            total = part if total is None else total + part
    return total
