"""Convolution in one and two dimensions with the values of `jax.lax`, lowered per backend.

A convolution is bilinear in input and kernel, and so are its two gradients; the derivative of any
of the three is made of the other two:

    convolve(x, k) -> y      input_gradient(g, k) -> x      kernel_gradient(x, g) -> k

Each is a JAX primitive whose derivatives are declared bilinear, which gives forward and reverse
mode to any order. GPU and TPU lower all three to XLA's native convolution (convolution_native.py),
CPUs to what is fast there (convolution_cpu.py has the rule and its numbers).

Operands of the primitives lead with an axis of members, which are independent convolutions: what
`vmap` over both operands makes. On a CPU they run one after another, which is faster than the
grouped convolution that XLA would make of them (10x for four small CNNs).
"""

import os
from collections.abc import Callable, Sequence
from functools import partial

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from jaxmodels.ops import convolution_cpu as cpu
from jaxmodels.ops import convolution_native as native
from jaxmodels.ops.convolution_native import Geometry, Pair, extent, transposed_kernel
from jaxmodels.ops.members import one_by_one

# An environment variable: what is compiled while it is set has XLA's convolutions on a CPU, too, to
# compare with or to rule out a fault here.
NATIVE = "JAXMODELS_NATIVE_CONVOLUTIONS"

Padding = str | int | Sequence[int | Sequence[int]]


def conv(
    x: Float[Array, "batch *size inputs"],
    kernel: Float[Array, "*kernel_size inputs/groups outputs"],
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    *,
    kernel_dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "batch *out_size outputs"]:
    """Cross-correlation over one or two axes, as `lax.conv_general_dilated` on NHWC and HWIO.

    padding: "SAME", "VALID", one int, or per axis an int or (low, high).
    kernel_dilation: pixels from one kernel position to the next (lax: rhs_dilation).
    groups: each of so many groups of outputs sees its own group of inputs only (lax:
    feature_group_count); as many as there are channels: depthwise.
    precision: of products, as in lax. On a CPU, which has one, any but None keeps large 3x3 and 4x4
    kernels from fewer products that round 2-4 times as much (see convolution_winograd.py).

    On a CPU a number that is not finite may spread to other groups: small ones share a product.

    Raises:
      ValueError: shapes that do not match or have another number of axes, channels that `groups`
      does not divide, an unknown padding, or a kernel larger than the padded input.
    """
    axes = _axes("conv", x, kernel, groups)
    strides, dilation = _each(strides, axes), _each(kernel_dilation, axes)
    if isinstance(padding, str):
        size = tuple(map(extent, kernel.shape[:axes], dilation))
        padding = lax.padtype_to_pads(x.shape[1:-1], size, strides, _known(padding))
    geometry = _geometry(strides, _pads(padding, axes), dilation, groups, precision)
    x, kernel = _with_rows(axes, x, kernel)
    ends = zip(x.shape[1:3], kernel.shape[:2], geometry.padding, geometry.dilation, strict=True)
    _check_size("conv", x, kernel, (n + sum(pads) - extent(k, d) for n, k, pads, d in ends))
    return _without_rows(axes, _bind(_convolve, x, kernel, geometry=geometry))


def conv_transpose(
    x: Float[Array, "batch *size inputs"],
    kernel: Float[Array, "*kernel_size inputs/groups outputs"],
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    *,
    kernel_dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "batch *out_size outputs"]:
    """Transposed convolution, as `lax.conv_transpose` (kernel not flipped) on NHWC and HWIO.

    It is the input gradient of a strided convolution and runs as that. Explicit padding means, as
    in lax, the padding of the input after it was spread out by the strides. Arguments otherwise as
    in `conv`; lax has no groups here.

    Raises:
      ValueError: as `conv`.
    """
    axes = _axes("conv_transpose", x, kernel, groups)
    strides, dilation = _each(strides, axes), _each(kernel_dilation, axes)
    if isinstance(padding, str):
        padding = [
            _transpose_padding(extent(k, d), s, _known(padding))
            for k, d, s in zip(kernel.shape[:axes], dilation, strides, strict=True)
        ]
    geometry = _geometry(strides, _pads(padding, axes), dilation, groups, precision)
    x, kernel = _with_rows(axes, x, kernel)
    # The convolution whose input gradient this is: low and high make its output n again.
    in_size, forward_padding = [], []
    for n, k, s, d, (low, high) in zip(
        x.shape[1:3], kernel.shape[:2], geometry.strides, geometry.dilation, geometry.padding,
        strict=True,
    ):  # fmt: skip
        reach = extent(k, d) - 1
        in_size.append(extent(n, s) + low + high - reach)
        forward_padding.append((reach - low, reach - high))
    _check_size("conv_transpose", x, kernel, (size - 1 for size in in_size))
    geometry = geometry._replace(padding=tuple(forward_padding))
    kernel = transposed_kernel(kernel, groups)
    y = _bind(_input_gradient, x, kernel, geometry=geometry, in_size=tuple(in_size))
    return _without_rows(axes, y)


def _axes(name: str, x: Array, kernel: Array, groups: int) -> int:
    """How many axes the kernel slides along."""
    axes = x.ndim - 2
    fits = axes in (1, 2) and kernel.ndim == x.ndim and groups >= 1
    if not (fits and x.shape[-1] == kernel.shape[-2] * groups and kernel.shape[-1] % groups == 0):
        shape = "[batch, height, width, inputs] and [height, width, inputs / groups, outputs]"
        raise ValueError(
            f"{name}: input of shape {x.shape}, kernel of shape {kernel.shape}, groups {groups};"
            f" expected {shape}, without height in one dimension"
        )
    return axes


def _check_size(name: str, x: Array, kernel: Array, beyond_one) -> None:
    if min(beyond_one) < 0:
        raise ValueError(
            f"{name}: a kernel of shape {kernel.shape} is larger than the padded input, without"
            f" padding of shape {x.shape}"
        )


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _pads(padding: int | Sequence[int | Sequence[int]], axes: int) -> tuple[Pair, ...]:
    return tuple(_each(pads, 2) for pads in _each(padding, axes))


def _known(padding: str) -> str:
    if padding.upper() not in ("SAME", "VALID"):
        raise ValueError(f"padding '{padding}'; expected 'SAME', 'VALID' or numbers")
    return padding.upper()


def _geometry(strides, padding, dilation, groups, precision) -> Geometry:
    if len(strides) == 1:  # along a row, of which there is one
        strides, padding, dilation = (1, *strides), ((0, 0), *padding), (1, *dilation)
    return Geometry(tuple(strides), tuple(padding), tuple(dilation), groups, precision)


def _with_rows(axes: int, x: Array, kernel: Array) -> tuple[Array, Array]:
    return (x, kernel) if axes == 2 else (x[:, None], kernel[None])


def _without_rows(axes: int, y: Array) -> Array:
    return y if axes == 2 else y[:, 0]


def _transpose_padding(kernel: int, stride: int, padding: str) -> Pair:
    """The padding of `lax.conv_transpose` for one axis."""
    if padding == "SAME":
        total = kernel + stride - 2
        low = kernel - 1 if stride > kernel - 1 else -(-total // 2)
    else:
        total = kernel + stride - 2 + max(kernel - stride, 0)
        low = kernel - 1
    return low, total - low


def _bind(primitive: Primitive, first: Array, second: Array, **params) -> Array:
    """The primitive of one member, inside of `shard_map` too: what all devices share counts there
    as their own first, so that its gradient is summed over them."""
    axes = [jax.typeof(operand).mat.varying for operand in (first, second)]
    operands = []
    for operand, own in zip((first, second), axes, strict=True):
        missing = tuple(axes[0].union(axes[1]) - own)
        operand = lax.pcast(operand, missing, to="varying") if missing else operand
        operands.append(operand[None])
    return primitive.bind(*operands, **params)[0]


# The primitives and their derivatives.


def _bilinear(name: str) -> Primitive:
    """A primitive that both modules of lowerings have a function of that name for."""
    primitive = Primitive(name)
    # One jit for all calls: outside of a jitted program, each would compile anew otherwise.
    static = ("geometry", "in_size", "kernel_size")
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=static))
    lowering = partial(_each_member, jax.vmap, getattr(native, name))
    primitive.def_abstract_eval(
        lambda *args, **params: jax.make_jaxpr(partial(lowering, **params))(*args).out_avals[0]
    )
    mlir.register_lowering(primitive, mlir.lower_fun(lowering, multiple_results=False))

    def on_cpu(first, second, **params):
        mapped, forms = (jax.vmap, native) if os.environ.get(NATIVE) else (one_by_one, cpu)
        return _each_member(mapped, getattr(forms, name), first, second, **params)

    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), "cpu")
    return primitive


def _each_member(mapped: Callable, function: Callable, first: Array, second: Array, **params):
    function = partial(function, **params)
    if len(first) == 1:
        return function(first[0], second[0])[None]
    return mapped(function)(first, second)


_convolve = _bilinear("convolve")
_input_gradient = _bilinear("input_gradient")
_kernel_gradient = _bilinear("kernel_gradient")


def _gradient_of_input(g, kernel, x, geometry):
    return _input_gradient.bind(g, kernel, geometry=geometry, in_size=x.shape[2:4])


def _gradient_of_kernel(x, g, kernel, geometry):
    return _kernel_gradient.bind(x, g, geometry=geometry, kernel_size=kernel.shape[1:3])


ad.defbilinear(
    _convolve,
    lambda g, x, kernel, geometry: _gradient_of_input(g, kernel, x.aval, geometry),
    lambda g, x, kernel, geometry: _gradient_of_kernel(x, g, kernel.aval, geometry),
)
ad.defbilinear(
    _input_gradient,
    lambda c, g, kernel, geometry, in_size: _convolve.bind(c, kernel, geometry=geometry),
    lambda c, g, kernel, geometry, in_size: _gradient_of_kernel(c, g, kernel.aval, geometry),
)
ad.defbilinear(
    _kernel_gradient,
    lambda c, x, g, geometry, kernel_size: _gradient_of_input(g, c, x.aval, geometry),
    lambda c, x, g, geometry, kernel_size: _convolve.bind(x, c, geometry=geometry),
)


def _into(x: Array, dim: int, axis: int, groups: int = 1) -> Array:
    """The axis `dim` joined with what comes after it as the axis `axis`, inside of each group."""
    x = _moved(x, dim, axis)
    shape = x.shape[:axis], x.shape[axis], x.shape[axis + 1], x.shape[axis + 2 :]
    before, count, size, after = shape
    x = x.reshape(*before, count, groups, size // groups, *after).swapaxes(axis, axis + 1)
    return x.reshape(*before, count * size, *after)


def _out_of(x: Array, count: int, axis: int, groups: int = 1) -> Array:
    """The inverse of `_into`, `count` leading."""
    before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    x = x.reshape(*before, groups, count, size // groups // count, *after)
    x = _moved(x, axis + 1, 0)
    return x.reshape(count, *before, size // count, *after)


def _moved(x: Array, source: int, target: int) -> Array:
    order = [axis for axis in range(x.ndim) if axis != source]
    order.insert(target, source)
    return x.transpose(order)


# Where a batched operand's new axis goes, if the other operand is shared, and where the result has
# it: axes after that of members, and whether groups divide them.
_BATCH, _CHANNELS, _INPUTS, _OUTPUTS = (1, False), (4, True), (3, False), (4, True)
_SHARED = {
    _convolve: ((_BATCH, _BATCH), (_OUTPUTS, _CHANNELS)),
    _input_gradient: ((_BATCH, _BATCH), (_INPUTS, _CHANNELS)),
    _kernel_gradient: ((_CHANNELS, _INPUTS), (_CHANNELS, _OUTPUTS)),
}


def _batch(primitive: Primitive, args, dims, geometry, **params):
    """vmap: over one operand it widens the batch or the channels, over both it adds members."""
    count = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    run = partial(primitive.bind, geometry=geometry, **params)
    if None not in dims:
        pairs = [_into(a, d, 0) for a, d in zip(args, dims, strict=True)]
        return _out_of(run(*pairs), count, 0), 0
    which = dims.index(None) ^ 1
    (into, divided), (out, out_divided) = _SHARED[primitive][which]
    args = list(args)
    args[which] = _into(args[which], dims[which], into, geometry.groups if divided else 1)
    return _out_of(run(*args), count, out, geometry.groups if out_divided else 1), 0


for _primitive in _SHARED:
    batching.primitive_batchers[_primitive] = partial(_batch, _primitive)
