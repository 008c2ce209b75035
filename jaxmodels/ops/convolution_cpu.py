"""A convolution and its two gradients as XLA's CPU backend runs them fast, also inside a loop.

XLA hands a plain forward convolution to Eigen, near the machine's peak. Every other kind it runs
through nested loops of its own, 5-200x below: inputs spread out (gradients where there are
strides), other orders of axes (gradients of kernels, inside a loop), groups, and kernels of more
pixels than the image, for which it exchanges the two. So everything here is plain forward
convolutions of other operands, or matrix products: where channels are too few to fill a
convolution, and where they are so many that transforms of tiles are cheap beside the products that
they save (convolution_winograd.py).

The rule, with what was measured in a `fori_loop` on two cores, batch 128, float32,
`cpu_compiler_options`; milliseconds, 3x3 unless said otherwise, "a -> b" from channels to channels:

forward           1 or 2 inputs: one product of patches (28x28, 1 -> 32: 2.2; native 2.8, under load
                  5.5; 2 -> 32: 1.3, native 3.4; from 3 on native is as fast or faster).
                  A kernel larger than the image: the image padded first (2x2, 256 -> 256: 3.1,
                  native 88).
                  From 128 to 128 channels or more, 3x3 at unit strides; from 64 to 128 or more, 4x4
                  at strides 2: by tiles (14x14, 128 -> 128: 31, native 40; 7x7, 256 -> 256: 25, 38;
                  4x4, 512 -> 512: 22, 46; 28x28, 64 -> 64 would gain nothing; 4x4 strides 2, 7x7,
                  128 -> 256: 8.7, 11.0).
                  Otherwise native (28x28, 16 -> 32: 5.7, patches 22).
input gradient    Few inputs from many outputs: one product, then overlap-add (4x4 strides 2, 28x28,
                  1 <- 64: 0.8, phases 2.4; 8 <- 64: 2.6, phases 6.9).
                  4x4 at strides 2 as above, unless most of the tiles would be cropped: by tiles
                  (14x14, 64 <- 128: 7.8, phases 9.5; 7x7, 128 <- 256: 21, phases 9.0).
                  Otherwise a forward convolution for each phase, a pixel's position modulo the
                  stride, which is the flipped convolution at stride 1 (strides 2, 28x28, 64 <- 128:
                  52, overlap-add 87; 7x7, 256 <- 512: 39, overlap-add 52; 4x4 strides 2, 14x14,
                  64 <- 128: 17.8, overlap-add 16.9; 1x1 strides 2, 28x28, 64 <- 128: 4.8, 12).
kernel gradient   1x1: one product (28x28, strides 2, 64 -> 128: 10, as a convolution 99).
                  3x3 as above: by tiles (14x14, 128 -> 128: 40, as below 47; 7x7, 256 -> 256: 32,
                  42; 4x4, 512 -> 512: 24, 51).
                  Unit strides and fewer outputs than inputs: g convolved by x (28x28, 32 -> 1: 1.1,
                  x by g 4.0; 14x14, 128 -> 8: 3.6, 10.7).
                  Otherwise x convolved by g spread out by the strides (14x14, 32 -> 64: 16, a
                  product per kernel position 52; 4x4 VALID on 7x7, 64 -> 128: 5.8, positions 9.9,
                  g by x 145; 4x4 strides 2, 14x14, 64 -> 128: 36, positions 43).
groups            Depthwise: shifted images times numbers (14x14x64: 2.7, native 45).
                  Otherwise group by group; small groups in bundles of 16 channels with a kernel of
                  zeros between them (14x14, 128 -> 128 in 32 groups: 19, one after another 52,
                  native 81; 64 -> 64 in 4 groups: 4.9, native 8.8).
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from math import gcd

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxmodels.ops import convolution_native as native
from jaxmodels.ops import convolution_winograd as winograd
from jaxmodels.ops.convolution_native import Geometry, Pair, extent, transposed_kernel
from jaxmodels.ops.materialize import materialize

# Beyond that many kernel positions, forms with an operation for each compile slowly.
_POSITIONS = 64


@cache
def cpu_compiler_options() -> dict[str, str]:
    """Options for `jax.jit(..., compiler_options=)` on a CPU: convolutions on all threads.

    By default XLA (jaxlib 0.10) hands a convolution that it does not fuse to YNNPACK on one thread
    (3x3, 32->64 on 14x14: 10 ms against 5 ms). Empty where this XLA does not know the option, and
    where the default backend is not a CPU.
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
    kernel: Float[Array, "kernel_height kernel_width inputs/groups outputs"],
    geometry: Geometry,
) -> Float[Array, "batch out_height out_width outputs"]:
    """The convolution."""
    positions = kernel.shape[0] * kernel.shape[1]
    if geometry.groups > 1:
        if kernel.shape[2] == 1 and positions <= _POSITIONS:
            return _depthwise(x, kernel, geometry)
        return _in_bundles(convolve, x, kernel, geometry)
    if kernel.shape[2] <= 2 and positions <= _POSITIONS:
        windows = _windows(x, kernel.shape[:2], geometry)
        outputs = kernel.shape[3]
        patches = jnp.concatenate(windows, axis=-1)
        y = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, outputs)
        return y.reshape(*patches.shape[:3], outputs)
    if _transforms_pay(kernel.shape, x, geometry):
        return winograd.convolve(x, kernel, geometry.padding, geometry.strides)
    return _forward(x, kernel, geometry)


def input_gradient(
    g: Float[Array, "batch out_height out_width outputs"],
    kernel: Float[Array, "kernel_height kernel_width inputs/groups outputs"],
    geometry: Geometry,
    in_size: Pair,
) -> Float[Array, "batch height width inputs"]:
    """What `convolve` transposes to in its input."""
    height, width, inputs, outputs = kernel.shape
    depthwise = inputs == 1 and outputs == geometry.groups
    if geometry.groups > 1 and not depthwise:
        return _in_bundles(input_gradient, g, kernel, geometry, in_size)
    few = geometry.groups == 1 and inputs <= 8 and outputs >= 4 * inputs
    if few and height * width <= _POSITIONS:
        return _overlap_add(g, kernel, geometry, in_size)
    # Tiles yield whole strides of what the windows reach; of small images, little else is left.
    reached = [(n - 1) * s + k for n, s, k in zip(g.shape[1:3], geometry.strides, kernel.shape)]
    crops = in_size[0] * in_size[1] / (reached[0] * reached[1])
    if geometry.strides != (1, 1) and crops > 0.7 and _transforms_pay(kernel.shape, g, geometry):
        return winograd.input_gradient(g, kernel, geometry.padding, geometry.strides, in_size)
    return _phases(g, kernel, geometry, in_size)


def kernel_gradient(
    x: Float[Array, "batch height width inputs"],
    g: Float[Array, "batch out_height out_width outputs"],
    geometry: Geometry,
    kernel_size: Pair,
) -> Float[Array, "kernel_height kernel_width inputs/groups outputs"]:
    """What `convolve` transposes to in its kernel."""
    if geometry.groups > 1:
        return _kernel_gradient_in_bundles(x, g, geometry, kernel_size)
    inputs, outputs = x.shape[3], g.shape[3]
    if kernel_size == (1, 1):
        (window,) = _windows(x, kernel_size, geometry)
        return (window.reshape(-1, inputs).T @ g.reshape(-1, outputs))[None, None]
    ones = (1, 1)
    if geometry.strides == ones and _transforms_pay((*kernel_size, inputs, outputs), x, geometry):
        return winograd.kernel_gradient(x, g, geometry.padding, kernel_size)
    if outputs < inputs and geometry.strides == geometry.dilation == ones:
        padding = tuple(
            (k - 1 - low, size - n + low)
            for k, (low, _), size, n in zip(
                kernel_size, geometry.padding, x.shape[1:3], g.shape[1:3], strict=True
            )
        )
        images = materialize(g).transpose(3, 1, 2, 0)
        kernel = materialize(x).transpose(1, 2, 0, 3)
        flipped = _forward(images, kernel, Geometry(ones, padding))
        return jnp.flip(flipped, (1, 2)).transpose(1, 2, 3, 0)
    padding = tuple(native.kernel_gradient_padding(x, g, geometry, kernel_size))
    images = materialize(x).transpose(3, 1, 2, 0)
    kernel = materialize(g).transpose(1, 2, 0, 3)
    y = _forward(images, kernel, Geometry(geometry.dilation, padding, geometry.strides))
    return y.transpose(1, 2, 0, 3)


def _transforms_pay(kernel_shape: tuple[int, ...], image: Array, geometry: Geometry) -> bool:
    """Whether transforms of tiles cost less than the products that they save."""
    height, width, inputs, outputs = kernel_shape
    if geometry.strides == (1, 1):
        fits = height == width == 3 and min(inputs, outputs) >= 128
    else:
        fits = geometry.strides == (2, 2) and height == width == 4
        fits = fits and inputs >= 64 and outputs >= 128
    # With few pixels, those of the kernel cost too much.
    fits = fits and geometry.dilation == (1, 1) and geometry.precision is None
    many = image.shape[0] * image.shape[1] * image.shape[2] >= 1024
    # Half precision would round the transforms.
    return fits and many and jnp.finfo(image.dtype).bits >= 32


def _forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """XLA's convolution, kept from exchanging operands where the kernel has more pixels."""
    if kernel.shape[0] * kernel.shape[1] > x.shape[1] * x.shape[2]:
        # It looks at sizes without padding. Without the barrier it takes the padding back.
        x = lax.optimization_barrier(_pad(x, geometry.padding))
        geometry = geometry._replace(padding=((0, 0), (0, 0)))
    return native.convolve(x, kernel, geometry)


def _pad(x: Array, padding, interior: Pair = (0, 0)) -> Array:
    edges = ((low, high, each) for (low, high), each in zip(padding, interior, strict=True))
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))


def _windows(x: Array, kernel_size: Pair, geometry: Geometry) -> list[Array]:
    """For each kernel position, in row-major order, the input that it meets."""
    x = _pad(x, geometry.padding)
    along = []
    for n, k, s, d in zip(
        x.shape[1:3], kernel_size, geometry.strides, geometry.dilation, strict=True
    ):
        count = n - extent(k, d) + 1
        along.append([slice(i * d, i * d + count, s) for i in range(k)])
    return [x[:, rows, columns] for rows, columns in product(*along)]


def _depthwise(x: Array, kernel: Array, geometry: Geometry) -> Array:
    windows = _windows(x, kernel.shape[:2], geometry)
    each = kernel.shape[3] // geometry.groups
    weights = kernel.reshape(len(windows), geometry.groups, each)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    y = sum(
        window[..., None].astype(wide) * weight
        for window, weight in zip(windows, weights, strict=True)
    )
    return y.astype(x.dtype).reshape(*y.shape[:3], kernel.shape[3])


def _phases(g: Array, kernel: Array, geometry: Geometry, in_size: Pair) -> Array:
    """Pixels at the same position modulo the stride meet the same part of the kernel: a forward
    convolution yields them, and nothing that is cropped later."""
    axes = [
        _phases_along(*axis)
        for axis in zip(
            g.shape[1:3], kernel.shape[:2], geometry.strides, geometry.dilation, in_size,
            geometry.padding, strict=True,
        )
    ]  # fmt: skip
    total = None
    for (part, *along_rows), (other, *along_columns) in product(*axes):
        padding, dilation, edges, interior = zip(along_rows, along_columns, strict=True)
        y = convolve(
            g,
            transposed_kernel(kernel[part, other], geometry.groups),
            Geometry((1, 1), padding, dilation, geometry.groups),
        )
        y = _pad(y, edges, interior)
        total = y if total is None else total + y
    if total is None:
        total = jnp.zeros((g.shape[0], *in_size, kernel.shape[2] * geometry.groups), g.dtype)
    return total


def _phases_along(n: int, k: int, stride: int, dilation: int, size: int, padding: Pair):
    """Of one axis: the part of the kernel, padding and dilation of g, and where pixels go."""
    phases, low = [], padding[0]
    step = stride // gcd(stride, dilation)
    for offset in range(min(step, k)):
        # Window i reaches pixel (i + m * apart) * stride + start at its m-th part of the kernel.
        start, apart = offset * dilation - low, dilation * step // stride
        first = -(start // stride)
        count = (size - 1 - start) // stride - first + 1
        if count <= 0:
            continue
        reach = extent(len(range(offset, k, step)), apart) - 1
        at = first * stride + start
        edges = at, size - at - extent(count, stride)
        phases.append(
            (
                slice(offset, None, step),
                (reach - first, first + count - n),
                apart,
                edges,
                stride - 1,
            )
        )
    return phases


def _overlap_add(g: Array, kernel: Array, geometry: Geometry, in_size: Pair) -> Array:
    height, width, inputs, outputs = kernel.shape
    # Sums of half-precision numbers would round each time.
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
    """Groups that run as one: a divisor of all of them. At most 32 bundles, if there are enough
    divisors: more compile slowly."""
    least = max(16, groups * channels // 32)
    divisors = [n for n in range(1, groups + 1) if groups % n == 0]
    return next((n for n in divisors if n * channels >= least), groups)


def _in_bundles(run: Callable, x: Array, kernel: Array, geometry: Geometry, *rest) -> Array:
    """`convolve` or `input_gradient` of each bundle side by side."""
    groups = geometry.groups
    height, width, inputs, outputs = kernel.shape
    count = _bundle(groups, max(inputs, outputs // groups))
    if count > 1:
        blocks = kernel.reshape(height, width, 1, inputs, -1, count, outputs // groups)
        own = jnp.eye(count, dtype=bool)[:, None, None, :, None]
        kernel = jnp.where(own, blocks, 0).reshape(height, width, count * inputs, outputs)
    parts = zip(
        jnp.split(x, groups // count, axis=3),
        jnp.split(kernel, groups // count, axis=3),
        strict=True,
    )
    return jnp.concatenate([run(*part, geometry._replace(groups=1), *rest) for part in parts], 3)


def _kernel_gradient_in_bundles(x, g, geometry, kernel_size):
    groups = geometry.groups
    inputs, outputs = x.shape[3] // groups, g.shape[3] // groups
    count = _bundle(groups, max(inputs, outputs))
    own = jnp.eye(count, dtype=bool)[:, None, :, None]
    kernels = []
    for part in zip(
        jnp.split(x, groups // count, axis=3), jnp.split(g, groups // count, axis=3), strict=True
    ):
        kernel = kernel_gradient(*part, geometry._replace(groups=1), kernel_size)
        if count > 1:
            blocks = kernel.reshape(*kernel_size, count, inputs, count, outputs)
            kernel = jnp.sum(jnp.where(own, blocks, 0), axis=2)
            kernel = kernel.reshape(*kernel_size, inputs, count * outputs)
        kernels.append(kernel)
    return jnp.concatenate(kernels, 3)
