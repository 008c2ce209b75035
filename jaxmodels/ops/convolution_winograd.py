"""Convolutions at stride 1 by minimal filtering: fewer products, between transformed tiles.

Lavin and Gray (2016), section 4: of r neighbouring taps, m outputs are

    A' [(G kernel) * (B' x)]        with m + r - 1 products instead of m r,

one axis after the other. By the transposition principle, the same matrices yield the gradient of
the kernel. Rows go by tiles of 2, columns by tiles of 4, so that 3x3 takes a third of the products
and rounds 2-4 times as much as a plain sum: with tiles of 4 both ways it would be ten times.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxmodels.ops.convolution_native import Pair, transposed_kernel
from jaxmodels.ops.materialize import materialize
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
    x = [[*_coefficients(other), 0] for other in others] + [_coefficients(points)]
    scales = [np.prod(point - other) for point, other in zip(points, others, strict=True)]
    kernel = np.vander(points, taps, increasing=True) / np.array(scales)[:, None]
    y = np.vander(points, outputs, increasing=True)
    last = np.eye(outputs + taps - 1)[-1]
    return _Transforms(
        np.array(x), np.vstack([kernel, last[-taps:]]), np.vstack([y, last[-outputs:]]).T
    )


def _coefficients(roots: np.ndarray) -> np.ndarray:
    """Of the monic polynomial with these roots, that of the constant first."""
    return np.poly1d(roots, r=True).coef[::-1]


class _Axis(NamedTuple):
    """Rows or columns in tiles."""

    axis: int
    padding: int  # in front
    size: int  # of the output
    tiles: int
    transforms: _Transforms

    @property
    def step(self) -> int:
        """Outputs of a tile."""
        return len(self.transforms.y)


def _axes(sizes: Pair, kernel_size: Pair, padding: tuple[Pair, Pair]) -> tuple[_Axis, _Axis]:
    axes = []
    for axis, (size, taps, (low, _)) in enumerate(zip(sizes, kernel_size, padding, strict=True)):
        outputs = min(_TILES[axis], size)
        tiles = -(-size // outputs)
        axes.append(_Axis(axis + 1, low, size, tiles, _transforms(outputs, taps)))
    return tuple(axes)


def convolve(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "kernel_height kernel_width inputs outputs"],
    padding: tuple[Pair, Pair],
    strides: Pair = (1, 1),
) -> Float[Array, "batch out_height out_width outputs"]:
    """The convolution; strides must divide the kernel's size."""
    if strides == (1, 1):
        return _convolve(x, kernel, padding)
    edges = []
    for n, k, s, (low, high) in zip(x.shape[1:3], kernel.shape, strides, padding, strict=False):
        windows = (n + low + high - k) // s + 1
        edges.append((low, (windows - 1) * s + k - n - low))
    return _convolve(
        x,
        kernel_to_depth(kernel, strides),
        ((0, 0), (0, 0)),
        before=lambda x: space_to_depth(_pad(x, edges), strides),
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

    def crop(x):
        x = depth_to_space(x, strides)
        sizes = zip(x.shape[1:3], in_size, padding, strict=True)
        return _pad(x, [(-low, size + low - n) for n, size, (low, _) in sizes])

    return _convolve(g, kernel, reach, after=crop)


def _convolve(
    x: Array,
    kernel: Array,
    padding: tuple[Pair, Pair],
    before: Callable[[Array], Array] = lambda x: x,
    after: Callable[[Array], Array] = lambda y: y,
) -> Array:
    taps = kernel.shape[:2]
    sizes = tuple(
        n + sum(pads) - k + 1
        for n, k, pads in zip(jax.eval_shape(before, x).shape[1:3], taps, padding, strict=True)
    )
    axes = _axes(sizes, taps, padding)
    kernels = [materialize(kernel)]
    for axis, _, _, _, transforms in axes[::-1]:
        kernels = [
            _sum(weights, each)
            for each in [jnp.split(k, k.shape[axis - 1], axis - 1) for k in kernels]
            for weights in transforms.kernel
        ]
    tiles = _tiles_of_x(before(materialize(x)), axes)
    products = [tile @ kernel[0, 0] for tile, kernel in zip(tiles, kernels, strict=True)]
    return materialize(after(_outputs(products, axes)))


def kernel_gradient(
    x: Float[Array, "batch height width inputs"],
    g: Float[Array, "batch out_height out_width outputs"],
    padding: tuple[Pair, Pair],
    kernel_size: Pair,
) -> Float[Array, "kernel_height kernel_width inputs outputs"]:
    """What `convolve` at stride 1 transposes to in its kernel."""
    axes = _axes(g.shape[1:3], kernel_size, padding)
    xs, gs = _tiles_of_x(materialize(x), axes), _tiles_of_y(materialize(g), axes)
    kernels = [
        (x.reshape(-1, x.shape[-1]).T @ g.reshape(-1, g.shape[-1]))[None, None]
        for x, g in zip(xs, gs, strict=True)
    ]
    for axis, _, _, _, transforms in axes:
        rows = transforms.kernel.T
        kernels = [
            jnp.concatenate([_sum(row, each) for row in rows], axis - 1)
            for each in _in_groups(kernels, len(transforms.x))
        ]
    return kernels[0]


def _tiles_of_x(x: Array, axes: tuple[_Axis, _Axis]) -> list[Array]:
    """Transformed: an array of all tiles for each product, columns before rows."""
    parts = [x]
    for axis in axes[::-1]:
        rows = axis.transforms.x
        parts = [
            _sum(row, entries)
            for entries in [_entries(part, axis, len(rows), axis.padding) for part in parts]
            for row in rows
        ]
    return parts


def _tiles_of_y(y: Array, axes: tuple[_Axis, _Axis]) -> list[Array]:
    """The same of outputs, by the transposed matrices."""
    parts = [y]
    for axis in axes[::-1]:
        parts = [
            _sum(column, entries)
            for entries in [_entries(part, axis, axis.step, 0) for part in parts]
            for column in axis.transforms.y.T
        ]
    return parts


def _outputs(products: list[Array], axes: tuple[_Axis, _Axis]) -> Array:
    """What the products of all tiles add up to."""
    for axis, _, size, _, transforms in axes:
        sums = []
        for each in _in_groups(products, len(transforms.x)):
            y = jnp.stack([_sum(row, each) for row in transforms.y], axis + 1)
            y = y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])
            sums.append(lax.slice_in_dim(y, 0, size, axis=axis))
        products = sums
    return products[0]


def _in_groups(arrays: list[Array], size: int) -> list[list[Array]]:
    return [arrays[at : at + size] for at in range(0, len(arrays), size)]


def _entries(x: Array, axis: _Axis, count: int, padding: int) -> list[Array]:
    """x, padded in front, at each of so many places of all tiles."""
    along, last = axis.axis, (axis.tiles - 1) * axis.step + 1
    edges = [(0, 0), (0, 0)]
    edges[along - 1] = (padding, last - 1 + count - x.shape[along] - padding)
    x = _pad(x, edges)
    return [lax.slice_in_dim(x, i, i + last, axis.step, along) for i in range(count)]


def _pad(x: Array, edges) -> Array:
    edges = [(low, high, 0) for low, high in edges]
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _sum(weights: Float[np.ndarray, " terms"], terms: list[Array]) -> Array:
    """Weighted, with no operation for weights of 0 and 1."""
    total = None
    for weight, term in zip(weights, terms, strict=True):
        if weight:
            part = term if weight == 1 else -term if weight == -1 else term * float(weight)
            total = part if total is None else total + part
    return total
