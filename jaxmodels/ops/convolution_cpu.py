"""A convolution and its two gradients as XLA's CPU backend runs them fast, also inside a loop.

XLA hands a plain forward convolution to Eigen, which runs it near the machine's peak. It runs every
other kind through nested loops of its own, which are many times slower: an input that is spread out
(gradients of strided convolutions), other orders of axes (gradients of kernels, inside a loop),
groups, and a kernel of more pixels than the image, because XLA then exchanges the two. Everything
here is therefore made of two fast forms, plain forward convolutions of other operands and matrix
products. Matrix products serve where the channels are too few to fill a convolution, and where they
are so many that transforming tiles costs less than the products that it saves
(convolution_winograd.py).

The rule follows measurements in a loop; `python -m experiments.benchmarks.convolution` compares the
result with XLA's own convolutions. The first case that fits is taken:

groups            Depthwise (one input in each group): sums of shifted images times numbers, and for
                  the kernel one reduction that makes the sums of all its positions.
                  Otherwise one group after another. Small groups go in bundles of at least 16
                  channels, as a dense kernel with zeros between the groups: the additional products
                  cost less than the many small convolutions.
forward           1 or 2 inputs: one product of patches. From 3 inputs on, native is as fast.
                  At least 128 channels in and out, 3x3 at unit strides; or at least 64 in and 128
                  out, 4x4 at strides 2: tiles. With fewer channels, tiles gain nothing.
                  A kernel larger than the image: native on an image that is padded first.
                  Otherwise native.
input gradient    At most 8 inputs of four times as many outputs: one product, then overlap-add.
                  4x4 at strides 2 as above: tiles, unless most of them would be cropped.
                  Otherwise a forward convolution for each phase, which is a pixel's position modulo
                  the stride. At stride 1 this is one convolution by the flipped kernel.
kernel gradient   1x1: one product.
                  3x3 as above: tiles.
                  Unit strides and fewer outputs than inputs: g convolved by x.
                  Otherwise x convolved by g, which the strides spread out.
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from math import gcd
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmodels.ops import convolution_native as native
from jaxmodels.ops import convolution_winograd as winograd
from jaxmodels.ops.convolution_native import Geometry, Pair, extent, transposed_kernel
from jaxmodels.ops.materialize import materialize

# Forms with an operation for each kernel position compile slowly beyond this many positions.
_MOST_POSITIONS = 64


@cache
def cpu_compiler_options() -> dict[str, str]:
    """Returns options for `jax.jit(..., compiler_options=)` that run convolutions on all threads.

    By default XLA (jaxlib 0.10) hands a convolution that it does not fuse to YNNPACK, which runs it
    on one thread. There are no options where this XLA does not know the one needed, and where the
    default backend is not a CPU.
    """
    if jax.default_backend() != "cpu":
        return {}
    types = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    options = {"xla_cpu_experimental_ynn_fusion_type": types}
    try:
        jax.jit(lambda: jnp.zeros(())).lower().compile(compiler_options=options)
    except (jax.errors.JaxRuntimeError, ValueError):
        return {}
    return options


def convolve(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "kernel_height kernel_width group_inputs outputs"],
    geometry: Geometry,
) -> Float[Array, "batch out_height out_width outputs"]:
    """Convolves x by the kernel, which gives y."""
    positions = kernel.shape[0] * kernel.shape[1]
    if geometry.groups > 1:
        if kernel.shape[2] == 1 and positions <= _MOST_POSITIONS:
            return _depthwise(x, kernel, geometry)
        return _in_bundles(convolve, x, kernel, geometry)
    if kernel.shape[2] <= 2 and positions <= _MOST_POSITIONS:
        patches = jnp.concatenate(_windows(x, kernel.shape[:2], geometry), axis=-1)
        outputs = kernel.shape[3]
        y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, outputs)
        return y.reshape(*patches.shape[:3], outputs)
    if _transforms_pay(kernel.shape, x, geometry):
        return winograd.convolve(x, kernel, geometry.padding, geometry.strides)
    return _forward(x, kernel, geometry)


def input_gradient(
    g: Float[Array, "batch out_height out_width outputs"],
    kernel: Float[Array, "kernel_height kernel_width group_inputs outputs"],
    geometry: Geometry,
    in_size: Pair,
) -> Float[Array, "batch height width inputs"]:
    """Computes the gradient of `convolve` in x, of size in_size, from the gradient g of y."""
    height, width, inputs, outputs = kernel.shape
    depthwise = inputs == 1 and outputs == geometry.groups
    if geometry.groups > 1 and not depthwise:
        return _in_bundles(input_gradient, g, kernel, geometry, in_size)
    few_inputs = geometry.groups == 1 and inputs <= 8 and outputs >= 4 * inputs
    if few_inputs and height * width <= _MOST_POSITIONS:
        return _overlap_add(g, kernel, geometry, in_size)
    # Tiles yield all pixels that the windows reach. The padding among them is cropped, and in small
    # images it is most of them.
    reached = [(n - 1) * s + k for n, s, k in zip(g.shape[1:3], geometry.strides, kernel.shape)]
    kept = in_size[0] * in_size[1] / (reached[0] * reached[1])
    if geometry.strides != (1, 1) and kept > 0.7 and _transforms_pay(kernel.shape, g, geometry):
        return winograd.input_gradient(g, kernel, geometry.padding, geometry.strides, in_size)
    return _phases(g, kernel, geometry, in_size)


def kernel_gradient(
    x: Float[Array, "batch height width inputs"],
    g: Float[Array, "batch out_height out_width outputs"],
    geometry: Geometry,
    kernel_size: Pair,
) -> Float[Array, "kernel_height kernel_width group_inputs outputs"]:
    """Computes the gradient of `convolve` in the kernel from the gradient g of y."""
    if geometry.groups > 1:
        depthwise = x.shape[3] == geometry.groups
        if depthwise and kernel_size[0] * kernel_size[1] <= _MOST_POSITIONS:
            return _depthwise_kernel_gradient(x, g, geometry, kernel_size)
        return _kernel_gradient_in_bundles(x, g, geometry, kernel_size)
    inputs, outputs = x.shape[3], g.shape[3]
    if kernel_size == (1, 1):
        (window,) = _windows(x, kernel_size, geometry)
        return (window.reshape(-1, inputs).T @ g.reshape(-1, outputs))[None, None]
    ones = (1, 1)
    if geometry.strides == ones and _transforms_pay((*kernel_size, inputs, outputs), x, geometry):
        return winograd.kernel_gradient(x, g, geometry.padding, kernel_size)
    if outputs < inputs and geometry.strides == geometry.dilation == ones:
        return _kernel_gradient_by_x(x, g, geometry, kernel_size)
    padding = tuple(native.kernel_gradient_padding(x, g, geometry, kernel_size))
    images = materialize(x).transpose(3, 1, 2, 0)
    kernel = materialize(g).transpose(1, 2, 0, 3)
    y = _forward(images, kernel, Geometry(geometry.dilation, padding, geometry.strides))
    return y.transpose(1, 2, 0, 3)


def _kernel_gradient_by_x(x: Array, g: Array, geometry: Geometry, kernel_size: Pair) -> Array:
    """Computes the gradient of a kernel at unit strides as g convolved by x."""
    padding = tuple(
        (k - 1 - low, size - n + low)
        for k, (low, _), size, n in zip(
            kernel_size, geometry.padding, x.shape[1:3], g.shape[1:3], strict=True
        )
    )
    images = materialize(g).transpose(3, 1, 2, 0)
    kernel = materialize(x).transpose(1, 2, 0, 3)
    flipped = _forward(images, kernel, Geometry((1, 1), padding))
    return jnp.flip(flipped, (1, 2)).transpose(1, 2, 3, 0)


def _transforms_pay(kernel_shape: tuple[int, ...], image: Array, geometry: Geometry) -> bool:
    """Decides whether transforming tiles costs less than the products that it saves."""
    height, width, inputs, outputs = kernel_shape
    if geometry.strides == (1, 1):
        fits = height == width == 3 and min(inputs, outputs) >= 128
    else:
        fits = geometry.strides == (2, 2) and height == width == 4
        fits = fits and inputs >= 64 and outputs >= 128
    fits = fits and geometry.dilation == (1, 1) and geometry.precision is None
    # With few pixels, the transforms of the kernel cost more than the products saved.
    pixels = image.shape[0] * image.shape[1] * image.shape[2]
    # In an exported program the batch is a symbol, which may stand for one image.
    many_pixels = isinstance(pixels, int) and pixels >= 1024
    # In half precision, the transforms would round too much.
    return fits and many_pixels and jnp.finfo(image.dtype).bits >= 32


def _forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Convolves by XLA's convolution, and keeps it from exchanging image and kernel."""
    if kernel.shape[0] * kernel.shape[1] > x.shape[1] * x.shape[2]:
        # XLA compares sizes without the convolution's own padding, so the image is padded first.
        # The barrier keeps XLA from making that the convolution's padding again.
        x = lax.optimization_barrier(_pad(x, geometry.padding))
        geometry = geometry._replace(padding=((0, 0), (0, 0)))
    return native.convolve(x, kernel, geometry)


def _pad(x: Array, padding, interior: Pair = (0, 0)) -> Array:
    edges = ((low, high, each) for (low, high), each in zip(padding, interior, strict=True))
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _windows(x: Array, kernel_size: Pair, geometry: Geometry) -> list[Array]:
    """Lists, for each kernel position in row-major order, the pixels that it meets."""
    x = _pad(x, geometry.padding)
    slices = []
    for n, k, s, d in zip(
        x.shape[1:3], kernel_size, geometry.strides, geometry.dilation, strict=True
    ):
        count = n - extent(k, d) + 1
        slices.append([slice(i * d, i * d + count, s) for i in range(k)])
    return [x[:, rows, columns] for rows, columns in product(*slices)]


def _depthwise(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Convolves with one input in each group."""
    # Otherwise every window would compute anew what made x.
    windows = _windows(materialize(x), kernel.shape[:2], geometry)
    weights = kernel.reshape(len(windows), geometry.groups, kernel.shape[3] // geometry.groups)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    y = sum(
        window[..., None].astype(wide) * weight
        for window, weight in zip(windows, weights, strict=True)
    )
    return y.astype(x.dtype).reshape(*y.shape[:3], kernel.shape[3])


def _depthwise_kernel_gradient(x: Array, g: Array, geometry: Geometry, kernel_size: Pair) -> Array:
    """Computes the kernel gradient with one input in each group.

    One reduction with a result for each kernel position reads the images once. It adds up each
    example alone, which rounds less and divides among threads.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    windows = _windows(materialize(x), kernel_size, geometry)
    by_group = materialize(g).reshape(*g.shape[:3], geometry.groups, -1).astype(wide)
    products = [window[..., None].astype(wide) * by_group for window in windows]
    sums = lax.reduce(
        products,
        [jnp.zeros((), wide)] * len(products),
        lambda first, second: [a + b for a, b in zip(first, second, strict=True)],
        (1, 2),
    )
    kernel = jnp.stack([jnp.sum(materialize(each), axis=0) for each in sums])
    return kernel.astype(x.dtype).reshape(*kernel_size, 1, g.shape[3])


class _Phase(NamedTuple):
    """The pixels at one position modulo the stride, along one axis."""

    taps: slice  # The part of the kernel that they meet.
    padding: Pair  # Of the convolution of g by that part.
    dilation: int
    edges: Pair  # The zeros before and after the pixels in the whole gradient.
    interior: int  # The zeros between two of them.


def _phases(g: Array, kernel: Array, geometry: Geometry, in_size: Pair) -> Array:
    """Computes an input gradient phase by phase.

    Pixels at the same position modulo the stride meet the same part of the kernel. One forward
    convolution by that part yields them, and nothing that is cropped later.
    """
    axes = [
        _phases_along(*axis)
        for axis in zip(
            g.shape[1:3], kernel.shape[:2], geometry.strides, geometry.dilation, in_size,
            geometry.padding, strict=True,
        )
    ]  # fmt: skip
    total = None
    for row, column in product(*axes):
        padding, dilation = (row.padding, column.padding), (row.dilation, column.dilation)
        part = transposed_kernel(kernel[row.taps, column.taps], geometry.groups)
        y = convolve(g, part, Geometry((1, 1), padding, dilation, geometry.groups))
        y = _pad(y, (row.edges, column.edges), (row.interior, column.interior))
        total = y if total is None else total + y
    if total is None:
        total = jnp.zeros((g.shape[0], *in_size, kernel.shape[2] * geometry.groups), g.dtype)
    return total


def _phases_along(n: int, k: int, stride: int, dilation: int, size: int, padding: Pair):
    """Lists the phases along one axis of a gradient of `size` pixels, of which some may be empty.

    n: pixels of g; k: taps of the kernel.
    """
    phases, low = [], padding[0]
    step = stride // gcd(stride, dilation)
    for offset in range(min(step, k)):
        # Window i reaches pixel (i + m * apart) * stride + start at its m-th tap of this phase.
        start, apart = offset * dilation - low, dilation * step // stride
        first = -(start // stride)
        count = (size - 1 - start) // stride - first + 1
        if count <= 0:
            continue
        reach = extent(len(range(offset, k, step)), apart) - 1
        at = first * stride + start
        phases.append(
            _Phase(
                taps=slice(offset, None, step),
                padding=(reach - first, first + count - n),
                dilation=apart,
                edges=(at, size - at - extent(count, stride)),
                interior=stride - 1,
            )
        )
    return phases


def _overlap_add(g: Array, kernel: Array, geometry: Geometry, in_size: Pair) -> Array:
    """Computes an input gradient as one product, whose parts are added where they overlap."""
    height, width, inputs, outputs = kernel.shape
    # In half precision, every addition would round.
    wide = jnp.promote_types(g.dtype, jnp.float32)
    products = jnp.matmul(
        g.reshape(-1, outputs), kernel.reshape(-1, outputs).T, preferred_element_type=wide
    ).reshape(*g.shape[:3], height, width, inputs)
    total = None
    for position in product(range(height), range(width)):
        edges = []
        for i, d, s, n, size, (low, _) in zip(
            position, geometry.dilation, geometry.strides, g.shape[1:3], in_size,
            geometry.padding, strict=True,
        ):  # fmt: skip
            at = i * d - low
            edges.append((at, size - at - extent(n, s)))
        interior = tuple(s - 1 for s in geometry.strides)
        part = _pad(products[:, :, :, *position], edges, interior)
        total = part if total is None else total + part
    return total.astype(g.dtype)


def _bundle(groups: int, channels: int) -> int:
    """Chooses how many groups run as one bundle; the number divides that of all groups.

    channels: of one group. There are at most 32 bundles, because more compile slowly.
    """
    least_channels = max(16, groups * channels // 32)
    divisors = [n for n in range(1, groups + 1) if groups % n == 0]
    return next((n for n in divisors if n * channels >= least_channels), groups)


def _in_bundles(run: Callable, x: Array, kernel: Array, geometry: Geometry, *rest) -> Array:
    """Runs `convolve` or `input_gradient` on one bundle of groups after another.

    The kernel of a bundle has zeros between its groups: it is block-diagonal.
    """
    groups = geometry.groups
    height, width, inputs, outputs = kernel.shape
    count = _bundle(groups, max(inputs, outputs // groups))
    if count > 1:
        blocks = kernel.reshape(height, width, 1, inputs, -1, count, outputs // groups)
        same_group = jnp.eye(count, dtype=bool)[:, None, None, :, None]
        kernel = jnp.where(same_group, blocks, 0).reshape(height, width, count * inputs, outputs)
    bundles = zip(
        jnp.split(x, groups // count, axis=3),
        jnp.split(kernel, groups // count, axis=3),
        strict=True,
    )
    ungrouped = geometry._replace(groups=1)
    return jnp.concatenate([run(*bundle, ungrouped, *rest) for bundle in bundles], 3)


def _kernel_gradient_in_bundles(x: Array, g: Array, geometry: Geometry, kernel_size: Pair) -> Array:
    """Runs `kernel_gradient` on one bundle of groups after another, and drops the zeros' part."""
    groups = geometry.groups
    inputs, outputs = x.shape[3] // groups, g.shape[3] // groups
    count = _bundle(groups, max(inputs, outputs))
    same_group = jnp.eye(count, dtype=bool)[:, None, :, None]
    kernels = []
    for bundle in zip(
        jnp.split(x, groups // count, axis=3), jnp.split(g, groups // count, axis=3), strict=True
    ):
        kernel = kernel_gradient(*bundle, geometry._replace(groups=1), kernel_size)
        if count > 1:
            blocks = kernel.reshape(*kernel_size, count, inputs, count, outputs)
            kernel = jnp.sum(jnp.where(same_group, blocks, 0), axis=2)
            kernel = kernel.reshape(*kernel_size, inputs, count * outputs)
        kernels.append(kernel)
    return jnp.concatenate(kernels, 3)
