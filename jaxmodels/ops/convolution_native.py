"""A convolution and its two gradients as XLA's native convolution: what a GPU and a TPU run."""

from collections.abc import Hashable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pair = tuple[int, int]
NHWC = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """How windows lie on the image, in rows and columns, and how its channels are grouped."""

    strides: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair = (1, 1)
    groups: int = 1
    precision: Hashable = None  # as in lax


def extent(size: int, dilation: int) -> int:
    """Counts the pixels from the first to the last that a kernel meets along an axis."""
    return (size - 1) * dilation + 1


def transposed_kernel(
    kernel: Float[Array, "height width group_inputs outputs"], groups: int
) -> Float[Array, "height width group_outputs inputs"]:
    """Flips the kernel and exchanges inputs and outputs of each group.

    An input gradient is a convolution by the result.
    """
    height, width, inputs, outputs = kernel.shape
    kernel = jnp.flip(kernel, (0, 1)).reshape(height, width, inputs, groups, outputs // groups)
    return kernel.transpose(0, 1, 4, 3, 2).reshape(height, width, -1, groups * inputs)


def convolve(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "kernel_height kernel_width group_inputs outputs"],
    geometry: Geometry,
) -> Float[Array, "batch out_height out_width outputs"]:
    """Convolves x by the kernel, which gives y."""
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        feature_group_count=geometry.groups,
        dimension_numbers=NHWC,
        precision=geometry.precision,
    )


def input_gradient(
    g: Float[Array, "batch out_height out_width outputs"],
    kernel: Float[Array, "kernel_height kernel_width group_inputs outputs"],
    geometry: Geometry,
    in_size: Pair,
) -> Float[Array, "batch height width inputs"]:
    """Computes the gradient of `convolve` in x, of size in_size, from the gradient g of y."""
    pads = []
    for n, k, s, d, size, (low, _) in zip(
        g.shape[1:3], kernel.shape[:2], geometry.strides, geometry.dilation, in_size,
        geometry.padding, strict=True,
    ):  # fmt: skip
        first = extent(k, d) - 1 - low
        pads.append((first, size + extent(k, d) - 1 - extent(n, s) - first))
    return lax.conv_general_dilated(
        g,
        transposed_kernel(kernel, geometry.groups),
        (1, 1),
        pads,
        lhs_dilation=geometry.strides,
        rhs_dilation=geometry.dilation,
        feature_group_count=geometry.groups,
        dimension_numbers=NHWC,
        precision=geometry.precision,
    )


def kernel_gradient(
    x: Float[Array, "batch height width inputs"],
    g: Float[Array, "batch out_height out_width outputs"],
    geometry: Geometry,
    kernel_size: Pair,
) -> Float[Array, "kernel_height kernel_width group_inputs outputs"]:
    """Computes the gradient of `convolve` in the kernel from the gradient g of y."""
    return lax.conv_general_dilated(
        x,
        g,
        geometry.dilation,
        kernel_gradient_padding(x, g, geometry, kernel_size),
        rhs_dilation=geometry.strides,
        # The channels take the place of the batch here, and groups divide them.
        batch_group_count=geometry.groups,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        precision=geometry.precision,
    )


def kernel_gradient_padding(x: Array, g: Array, geometry: Geometry, kernel_size: Pair) -> list:
    """Computes the padding of x with which its convolution by g has the size of the kernel."""
    return [
        (low, extent(k, d) - 1 + extent(n, s) - size - low)
        for size, n, k, s, d, (low, _) in zip(
            x.shape[1:3], g.shape[1:3], kernel_size, geometry.strides, geometry.dilation,
            geometry.padding, strict=True,
        )
    ]  # fmt: skip
