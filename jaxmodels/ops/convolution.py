"""2-D convolution with the values of `jax.lax`, lowered per backend.

A convolution is bilinear in input and kernel, and so are its two gradients; the derivative of any
of the three is made of the other two:

    convolve(x, k) -> y      input_gradient(g, k) -> x      kernel_gradient(x, g) -> k

Each is a JAX primitive whose derivatives are declared bilinear, which gives forward and reverse
mode to any order. GPU and TPU lower all three to XLA's native convolution. XLA's CPU backend runs a
native forward convolution near the machine's peak but, inside a loop, native *gradients* 5-200x
below it, so there they become forward convolutions of other operands or matrix products (`_cpu_*`
below say which, by what was measured on two cores, batch 128, with `cpu_compiler_options`).
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

Pair = tuple[int, int]
Padding = str | int | Sequence[int | Sequence[int]]
_NHWC = ("NHWC", "HWIO", "NHWC")


def conv(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "kernel_height kernel_width inputs outputs"],
    strides: int | Pair = 1,
    padding: Padding = "SAME",
) -> Float[Array, "batch out_height out_width outputs"]:
    """Cross-correlation, as `lax.conv_general_dilated` on NHWC and HWIO.

    padding: "SAME", "VALID", one int, or per axis an int or (low, high).

    Raises:
      ValueError: an input channel count that differs from the kernel's, or an unknown padding.
    """
    strides = _pair(strides)
    _check_channels("conv", x, kernel)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, _known(padding))
    return _convolve.bind(x, kernel, strides=strides, padding=_pads(padding))


def conv_transpose(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "kernel_height kernel_width inputs outputs"],
    strides: int | Pair = 1,
    padding: Padding = "SAME",
) -> Float[Array, "batch out_height out_width outputs"]:
    """Transposed convolution, as `lax.conv_transpose` (kernel not flipped) on NHWC and HWIO.

    It is the input gradient of a strided convolution and runs as that. Explicit padding means, as
    in lax, the padding of the input after it was spread out by the strides.

    Raises:
      ValueError: an input channel count that differs from the kernel's, or an unknown padding.
    """
    strides = _pair(strides)
    _check_channels("conv_transpose", x, kernel)
    size = kernel.shape[:2]
    if isinstance(padding, str):
        padding = [
            _transpose_padding(k, s, _known(padding)) for k, s in zip(size, strides, strict=True)
        ]
    spread = [
        ((n - 1) * s + 1, k, low, high)
        for n, s, k, (low, high) in zip(x.shape[1:3], strides, size, _pads(padding), strict=True)
    ]
    in_size = tuple(n + low + high - k + 1 for n, k, low, high in spread)
    # The convolution whose input gradient this is: low and high make its output n again.
    forward_padding = tuple((k - 1 - low, k - 1 - high) for _, k, low, high in spread)
    kernel = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return _input_gradient.bind(
        x, kernel, strides=strides, padding=forward_padding, in_size=in_size
    )


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else tuple(value)


def _pads(padding: int | Sequence[int | Sequence[int]]) -> tuple[Pair, Pair]:
    return tuple(_pair(p) for p in _pair(padding))


def _known(padding: str) -> str:
    if padding.upper() not in ("SAME", "VALID"):
        raise ValueError(f"padding '{padding}'; expected 'SAME', 'VALID' or numbers")
    return padding.upper()


def _check_channels(name: str, x: Array, kernel: Array) -> None:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise ValueError(
            f"{name}: input of shape {x.shape} and kernel of shape {kernel.shape}; expected"
            " [batch, height, width, inputs] and [height, width, inputs, outputs]"
        )


def _transpose_padding(kernel: int, stride: int, padding: str) -> Pair:
    """The padding of `lax.conv_transpose` for one axis."""
    if padding == "SAME":
        total = kernel + stride - 2
        low = kernel - 1 if stride > kernel - 1 else -(-total // 2)
    else:
        total = kernel + stride - 2 + max(kernel - stride, 0)
        low = kernel - 1
    return low, total - low


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


# Native forms: XLA's convolution, on every backend but the CPU.


def _native_convolve(x, kernel, *, strides, padding):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_NHWC)


def _native_input_gradient(g, kernel, *, strides, padding, in_size):
    pads = []
    for n, k, s, size, (low, _) in zip(
        g.shape[1:3], kernel.shape[:2], strides, in_size, padding, strict=True
    ):
        first = k - 1 - low
        pads.append((first, size + k - 1 - ((n - 1) * s + 1) - first))
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return lax.conv_general_dilated(
        g, flipped, (1, 1), pads, lhs_dilation=strides, dimension_numbers=_NHWC
    )


def _native_kernel_gradient(x, g, *, strides, padding, kernel_size):
    pads = [
        (low, k - 1 + (n - 1) * s + 1 - size - low)
        for size, n, k, s, (low, _) in zip(
            x.shape[1:3], g.shape[1:3], kernel_size, strides, padding, strict=True
        )
    ]
    return lax.conv_general_dilated(
        x, g, (1, 1), pads, rhs_dilation=strides, dimension_numbers=("CHWN", "IHWO", "HWNC")
    )


# CPU forms.


def _windows(x, out_size, *, strides, padding, kernel_size):
    """For each kernel position, in row-major order, the input that it meets."""
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)))
    (rows, columns), (down, right) = out_size, strides
    return [
        lax.slice(
            x,
            (0, i, j, 0),
            (x.shape[0], i + (rows - 1) * down + 1, j + (columns - 1) * right + 1, x.shape[3]),
            (1, down, right, 1),
        )
        for i in range(kernel_size[0])
        for j in range(kernel_size[1])
    ]


def _cpu_input_gradient(g, kernel, *, strides, padding, in_size):
    """Unit strides: a forward convolution with the flipped kernel (14x14, 64->32: 2.6 ms in a loop
    against 20 ms). Otherwise matrix products and an overlap-add.

    The sum runs over blocks of one stride, of which the kernel covers ceil(kernel / stride) each
    way; only then is a block spread over its pixels (4x4 strides 2, 14x14, 64<-128: 10.8 ms, and
    20.5 ms if every kernel position is added on its own; 7.8 ms is the floor)."""
    height, width, inputs, outputs = kernel.shape
    if strides == (1, 1):
        return _native_input_gradient(g, kernel, strides=strides, padding=padding, in_size=in_size)
    (down, right), (batch, rows, columns, _) = strides, g.shape
    blocks = -(-height // down), -(-width // right)
    zero = jnp.zeros((), g.dtype)
    total = None
    for i in range(blocks[0]):
        for j in range(blocks[1]):
            part = kernel[i * down : (i + 1) * down, j * right : (j + 1) * right]
            product = g.reshape(-1, outputs) @ part.reshape(-1, outputs).T
            product = product.reshape(batch, rows, columns, *part.shape[:3])
            edges = ((i, blocks[0] - 1 - i, 0), (j, blocks[1] - 1 - j, 0))
            rest = ((0, down - part.shape[0], 0), (0, right - part.shape[1], 0))
            part = lax.pad(product, zero, ((0, 0, 0), *edges, *rest, (0, 0, 0)))
            total = part if total is None else total + part
    rows, columns = total.shape[1] * down, total.shape[2] * right
    pixels = total.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, inputs)
    crop = [
        (-low, size + low - n, 0)
        for n, size, (low, _) in zip((rows, columns), in_size, padding, strict=True)
    ]
    return lax.pad(pixels, zero, ((0, 0, 0), *crop, (0, 0, 0)))


def _cpu_kernel_gradient(x, g, *, strides, padding, kernel_size):
    """Unit strides: a forward convolution of g by x, channels taking the place of the batch (14x14,
    32->64: 6.5 ms in a loop against 1,550 ms). Otherwise a matrix product per kernel position; one
    product over all of them where the input has too few channels to fill one."""
    inputs, outputs = x.shape[3], g.shape[3]
    if strides == (1, 1) and inputs >= 8:
        pads = [
            (k - 1 - low, size - n + low)
            for k, (low, _), size, n in zip(
                kernel_size, padding, x.shape[1:3], g.shape[1:3], strict=True
            )
        ]
        images, kernel = g.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3)
        flipped = lax.conv_general_dilated(images, kernel, (1, 1), pads, dimension_numbers=_NHWC)
        return jnp.flip(flipped, (1, 2)).transpose(1, 2, 3, 0)
    windows = _windows(x, g.shape[1:3], strides=strides, padding=padding, kernel_size=kernel_size)
    g = g.reshape(-1, outputs)
    if inputs < 8:
        patches = jnp.concatenate(windows, axis=-1).reshape(-1, len(windows) * inputs)
        return (patches.T @ g).reshape(*kernel_size, inputs, outputs)
    parts = jnp.stack([window.reshape(-1, inputs).T @ g for window in windows])
    return parts.reshape(*kernel_size, inputs, outputs)


# The primitives and their derivatives.


def _bilinear(name: str, native: Callable, cpu: Callable | None = None) -> Primitive:
    primitive = Primitive(name)
    # One jit for all calls: outside of a jitted program, each would compile anew otherwise.
    static = ("strides", "padding", "in_size", "kernel_size")
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=static))
    primitive.def_abstract_eval(
        lambda *args, **params: jax.core.ShapedArray(
            (out := jax.eval_shape(partial(native, **params), *args)).shape, out.dtype
        )
    )
    mlir.register_lowering(primitive, mlir.lower_fun(native, multiple_results=False))
    if cpu:
        mlir.register_lowering(primitive, mlir.lower_fun(cpu, multiple_results=False), "cpu")
    return primitive


_convolve = _bilinear("convolve", _native_convolve)
_input_gradient = _bilinear("convolve_input_gradient", _native_input_gradient, _cpu_input_gradient)
_kernel_gradient = _bilinear(
    "convolve_kernel_gradient", _native_kernel_gradient, _cpu_kernel_gradient
)


def _gradient_of_input(g, kernel, x, **geometry):
    return _input_gradient.bind(g, kernel, in_size=x.shape[1:3], **geometry)


def _gradient_of_kernel(x, g, kernel, **geometry):
    return _kernel_gradient.bind(x, g, kernel_size=kernel.shape[:2], **geometry)


ad.defbilinear(
    _convolve,
    lambda g, x, kernel, **geometry: _gradient_of_input(g, kernel, x.aval, **geometry),
    lambda g, x, kernel, **geometry: _gradient_of_kernel(x, g, kernel.aval, **geometry),
)
ad.defbilinear(
    _input_gradient,
    lambda c, g, kernel, in_size, **geometry: _convolve.bind(c, kernel, **geometry),
    lambda c, g, kernel, in_size, **geometry: _gradient_of_kernel(c, g, kernel.aval, **geometry),
)
ad.defbilinear(
    _kernel_gradient,
    lambda c, x, g, kernel_size, **geometry: _gradient_of_input(g, c, x.aval, **geometry),
    lambda c, x, g, kernel_size, **geometry: _convolve.bind(x, c, **geometry),
)


def _batch(primitive: Primitive, foldable: bool, args, dims, **params):
    """vmap: a batched first operand joins the batch axis; anything else runs one after another,
    which on a CPU is faster than the grouped convolution that XLA would make of it."""
    first, second = args
    if foldable and dims[1] is None:
        first = jnp.moveaxis(first, dims[0], 0)
        count = first.shape[0]
        out = primitive.bind(first.reshape(-1, *first.shape[2:]), second, **params)
        return out.reshape(count, -1, *out.shape[1:]), 0
    count = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    first, second = (
        jnp.broadcast_to(a, (count, *a.shape)) if d is None else jnp.moveaxis(a, d, 0)
        for a, d in zip(args, dims, strict=True)
    )
    return lax.map(lambda pair: primitive.bind(*pair, **params), (first, second)), 0


for _primitive, _foldable in (
    (_convolve, True),
    (_input_gradient, True),
    (_kernel_gradient, False),
):
    batching.primitive_batchers[_primitive] = partial(_batch, _primitive, _foldable)
