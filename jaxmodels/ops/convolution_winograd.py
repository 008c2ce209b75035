"""Convolutions at stride 1 by minimal filtering: fewer products, between transformed tiles.

A tile is m neighbouring outputs along an axis, of a kernel with r taps there. Lavin and Gray (2016,
section 4) compute it with m + r - 1 products instead of m r, as

    A' [(G kernel) * (B' x)]

where * multiplies elementwise. Here the matrices A', G and B' are called y, kernel and x. They
apply to one axis after the other. Their transposes yield the gradient of the kernel.

Tiles are 2 rows by 4 columns. A 3x3 kernel then takes a third of the products and rounds 2-4 times
as much as a plain sum. Tiles of 4 by 4 would round about ten times as much.

A convolution whose strides divide its kernel's sides is one at stride 1 on blocks of pixels
(space_to_depth.py), so these run by tiles, too.
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

_TILES = (2, 4)  # outputs of a tile, in rows and columns
# The points at which Toom-Cook evaluates polynomials, besides infinity. Their order keeps rounding
# low (Barabasz et al. 2020, table 1).
_POINTS = (0, 1, -1, 1 / 2, -2)


class _Transforms(NamedTuple):
    """The matrices for one number of outputs per tile and one of taps per kernel."""

    x: Float[np.ndarray, "products products"]
    kernel: Float[np.ndarray, "products taps"]
    y: Float[np.ndarray, "outputs products"]


@cache
def _transforms(outputs: int, taps: int) -> _Transforms:
    """Constructs the matrices by Toom-Cook's algorithm.

    The convolution multiplies polynomials, and the matrices of kernel and y evaluate polynomials at
    the points. That of x has Lagrange's polynomials of the points without their denominators, so
    that its coefficients have few digits. The matrix of the kernel is divided by the denominators.
    """
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
    """Returns the coefficients of the monic polynomial with these roots, the constant first."""
    return np.poly1d(roots, r=True).coef[::-1]


class _Axis(NamedTuple):
    """How one axis, rows or columns, is divided into tiles."""

    axis: int
    padding: int  # In front of the first pixel.
    size: int  # Of the output.
    tiles: int
    transforms: _Transforms

    @property
    def step(self) -> int:
        """The outputs of a tile."""
        return len(self.transforms.y)


def _axes(sizes: Pair, kernel_size: Pair, padding: tuple[Pair, Pair]) -> tuple[_Axis, _Axis]:
    """Divides the output, of these sizes, into tiles."""
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
    """Convolves x by the kernel, which gives y; the strides must divide the kernel's sides."""
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
    """Computes the gradient of `convolve` in x, of size in_size, from the gradient g of y."""
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
    """Convolves before(x) at stride 1, and returns `after` of the result.

    Both rearrangements belong here, because the operands and the result are materialised outside of
    them: XLA then fuses them with the transforms.
    """
    taps = kernel.shape[:2]
    sizes = tuple(
        n + sum(pads) - k + 1
        for n, k, pads in zip(jax.eval_shape(before, x).shape[1:3], taps, padding, strict=True)
    )
    axes = _axes(sizes, taps, padding)
    kernels = [materialize(kernel)]
    for axis in axes[::-1]:
        along = axis.axis - 1  # A kernel has no batch axis.
        kernels = [
            _weighted_sum(row, slices)
            for slices in [jnp.split(k, k.shape[along], along) for k in kernels]
            for row in axis.transforms.kernel
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
    """Computes the gradient of `convolve` at stride 1 in the kernel from the gradient g of y."""
    axes = _axes(g.shape[1:3], kernel_size, padding)
    x_tiles, g_tiles = _tiles_of_x(materialize(x), axes), _tiles_of_y(materialize(g), axes)
    kernels = [
        (x.reshape(-1, x.shape[-1]).T @ g.reshape(-1, g.shape[-1]))[None, None]
        for x, g in zip(x_tiles, g_tiles, strict=True)
    ]
    for axis in axes:
        columns = axis.transforms.kernel.T
        kernels = [
            jnp.concatenate([_weighted_sum(column, each) for column in columns], axis.axis - 1)
            for each in _chunks(kernels, len(axis.transforms.x))
        ]
    return kernels[0]


def _tiles_of_x(x: Array, axes: tuple[_Axis, _Axis]) -> list[Array]:
    """Transforms the tiles of x: makes one array of all tiles for each product.

    Products of the same row of a tile follow one another.
    """
    parts = [x]
    for axis in axes[::-1]:
        rows = axis.transforms.x
        parts = [
            _weighted_sum(row, entries)
            for entries in [_entries(part, axis, len(rows), axis.padding) for part in parts]
            for row in rows
        ]
    return parts


def _tiles_of_y(y: Array, axes: tuple[_Axis, _Axis]) -> list[Array]:
    """Transforms the tiles of an output's gradient by the transposed matrices, in that order."""
    parts = [y]
    for axis in axes[::-1]:
        parts = [
            _weighted_sum(column, entries)
            for entries in [_entries(part, axis, axis.step, 0) for part in parts]
            for column in axis.transforms.y.T
        ]
    return parts


def _outputs(products: list[Array], axes: tuple[_Axis, _Axis]) -> Array:
    """Adds the products up to the outputs, and joins the tiles."""
    for axis in axes:
        along, sums = axis.axis, []
        for each in _chunks(products, len(axis.transforms.x)):
            y = jnp.stack([_weighted_sum(row, each) for row in axis.transforms.y], along + 1)
            y = y.reshape(*y.shape[:along], -1, *y.shape[along + 2 :])
            sums.append(lax.slice_in_dim(y, 0, axis.size, axis=along))
        products = sums
    return products[0]


def _chunks(arrays: list[Array], size: int) -> list[list[Array]]:
    return [arrays[at : at + size] for at in range(0, len(arrays), size)]


def _entries(x: Array, axis: _Axis, count: int, padding: int) -> list[Array]:
    """Lists `count` arrays, of which the i-th has the i-th pixel along the axis of every tile."""
    along, last = axis.axis, (axis.tiles - 1) * axis.step + 1
    edges = [(0, 0), (0, 0)]
    edges[along - 1] = (padding, last - 1 + count - x.shape[along] - padding)
    x = _pad(x, edges)
    return [lax.slice_in_dim(x, i, i + last, axis.step, along) for i in range(count)]


def _pad(x: Array, edges) -> Array:
    edges = [(low, high, 0) for low, high in edges]
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _weighted_sum(weights: np.ndarray, terms: list[Array]) -> Array:
    """Adds terms times weights, without an operation for weights of 0 and 1."""
    total = None
    for weight, term in zip(weights, terms, strict=True):
        if weight:
            part = term if weight == 1 else -term if weight == -1 else term * float(weight)
            total = part if total is None else total + part
    return total
