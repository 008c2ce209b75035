"""Convolution in one and two dimensions with the values of `jax.lax`, lowered per backend.

A convolution is bilinear in its input and its kernel. So are its two gradients, and the derivatives
of each of the three functions are made of the other two:

    convolve(x, k) -> y      input_gradient(g, k) -> x      kernel_gradient(x, g) -> k

Each of the three is a JAX primitive whose derivatives are declared bilinear, which gives forward
and reverse mode to any order. On a GPU and a TPU all three lower to XLA's native convolution
(convolution_native.py). On a CPU they lower to what is fast there (convolution_cpu.py).

The operands of the primitives lead with an axis of members, which are independent convolutions:
`vmap` over both operands makes them. On a CPU they run one after another, because the grouped
convolution that XLA would make of them is much slower.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from jaxmodels.ops import convolution_cpu as cpu
from jaxmodels.ops import convolution_native as native
from jaxmodels.ops.convolution_native import Geometry, Pair, extent, transposed_kernel
from jaxmodels.ops.members import one_by_one

# An environment variable. Programs that are compiled while it is set have XLA's native convolutions
# on a CPU too, to compare with them or to rule out a fault here.
NATIVE = "JAXMODELS_NATIVE_CONVOLUTIONS"

Padding = str | int | Sequence[int | Sequence[int]]


def conv(
    x: Float[Array, "batch *size inputs"],
    kernel: Float[Array, "*kernel_size group_inputs outputs"],
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    *,
    kernel_dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "batch *out_size outputs"]:
    """Cross-correlates along one or two axes, as `lax.conv_general_dilated` on NHWC and HWIO.

    padding: "SAME", "VALID", one int, or per axis an int or (low, high).
    kernel_dilation: pixels from one kernel position to the next (lax: rhs_dilation).
    groups: the number of groups of channels; each group of outputs reads its own group of inputs
      (lax: feature_group_count). With as many groups as inputs, the convolution is depthwise.
    precision: of products, as in lax. A CPU has one precision only, but there any value other than
      None turns off the algorithm that computes large 3x3 and 4x4 kernels with fewer products and
      rounds 2-4 times as much (convolution_winograd.py).

    On a CPU a number that is not finite may spread to other groups, because small groups share a
    product.

    Raises:
      ValueError: shapes that do not match or have another number of axes, channels that `groups`
      does not divide, an unknown padding, or a kernel larger than the padded input.
    """
    axes = _count_axes("conv", x, kernel, groups)
    strides, dilation = _per_axis(strides, axes), _per_axis(kernel_dilation, axes)
    if isinstance(padding, str):
        kernel_extent = tuple(map(extent, kernel.shape[:axes], dilation))
        name = _padding_name(padding)
        padding = lax.padtype_to_pads(x.shape[1:-1], kernel_extent, strides, name)
    geometry = _geometry(strides, _pads(padding, axes), dilation, groups, precision)
    x, kernel = _with_rows(axes, x, kernel)
    ends = zip(x.shape[1:3], kernel.shape[:2], geometry.padding, geometry.dilation, strict=True)
    sizes = (n + sum(pads) - extent(k, d) + 1 for n, k, pads, d in ends)
    _require_output("conv", x, kernel, sizes)
    return _without_rows(axes, _bind(_convolve, x, kernel, geometry=geometry))


def conv_transpose(
    x: Float[Array, "batch *size inputs"],
    kernel: Float[Array, "*kernel_size group_inputs outputs"],
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    *,
    kernel_dilation: int | Sequence[int] = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "batch *out_size outputs"]:
    """Convolves the transposed way, as `lax.conv_transpose` (kernel not flipped) on NHWC and HWIO.

    It is the input gradient of a strided convolution and runs as one. As in lax, padding given as
    numbers is that of the input after the strides have spread it out. The other arguments are those
    of `conv`; lax has no groups here.

    Raises:
      ValueError: as `conv`.
    """
    axes = _count_axes("conv_transpose", x, kernel, groups)
    strides, dilation = _per_axis(strides, axes), _per_axis(kernel_dilation, axes)
    if isinstance(padding, str):
        padding = [
            _transpose_padding(extent(k, d), s, _padding_name(padding))
            for k, d, s in zip(kernel.shape[:axes], dilation, strides, strict=True)
        ]
    geometry = _geometry(strides, _pads(padding, axes), dilation, groups, precision)
    x, kernel = _with_rows(axes, x, kernel)
    # The padding of the convolution that maps the output of this one, of size in_size, to x.
    in_size, forward_padding = [], []
    for n, k, s, d, (low, high) in zip(
        x.shape[1:3], kernel.shape[:2], geometry.strides, geometry.dilation, geometry.padding,
        strict=True,
    ):  # fmt: skip
        reach = extent(k, d) - 1
        in_size.append(extent(n, s) + low + high - reach)
        forward_padding.append((reach - low, reach - high))
    _require_output("conv_transpose", x, kernel, in_size)
    geometry = geometry._replace(padding=tuple(forward_padding))
    kernel = transposed_kernel(kernel, groups)
    y = _bind(_input_gradient, x, kernel, geometry=geometry, in_size=tuple(in_size))
    return _without_rows(axes, y)


def _count_axes(name: str, x: Array, kernel: Array, groups: int) -> int:
    """Counts the axes that the kernel slides along, and refuses shapes that do not match."""
    axes = x.ndim - 2
    fits = axes in (1, 2) and kernel.ndim == x.ndim and groups >= 1
    if not (fits and x.shape[-1] == kernel.shape[-2] * groups and kernel.shape[-1] % groups == 0):
        shape = "[batch, height, width, inputs] and [height, width, inputs / groups, outputs]"
        raise ValueError(
            f"{name}: input of shape {x.shape}, kernel of shape {kernel.shape}, groups {groups};"
            f" expected {shape}, without height in one dimension"
        )
    return axes


def _require_output(name: str, x: Array, kernel: Array, sizes: Iterable[int]) -> None:
    """Refuses an output without pixels; sizes: its sides, before strides leave out pixels."""
    if min(sizes) < 1:
        raise ValueError(
            f"{name}: a kernel of shape {kernel.shape} is larger than the padded input, without"
            f" padding of shape {x.shape}"
        )


def _per_axis(value: int | Sequence, axes: int) -> tuple:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _pads(padding: int | Sequence[int | Sequence[int]], axes: int) -> tuple[Pair, ...]:
    return tuple(_per_axis(pads, 2) for pads in _per_axis(padding, axes))


def _padding_name(padding: str) -> str:
    if padding.upper() not in ("SAME", "VALID"):
        raise ValueError(f"padding '{padding}'; expected 'SAME', 'VALID' or numbers")
    return padding.upper()


def _geometry(strides, padding, dilation, groups, precision) -> Geometry:
    if len(strides) == 1:  # In one dimension the image is a single row.
        strides, padding, dilation = (1, *strides), ((0, 0), *padding), (1, *dilation)
    return Geometry(tuple(strides), tuple(padding), tuple(dilation), groups, precision)


def _with_rows(axes: int, x: Array, kernel: Array) -> tuple[Array, Array]:
    return (x, kernel) if axes == 2 else (x[:, None], kernel[None])


def _without_rows(axes: int, y: Array) -> Array:
    return y if axes == 2 else y[:, 0]


def _transpose_padding(kernel: int, stride: int, padding: str) -> Pair:
    """Returns the padding that `lax.conv_transpose` has for a name, along one axis."""
    if padding == "SAME":
        total = kernel + stride - 2
        low = kernel - 1 if stride > kernel - 1 else -(-total // 2)
    else:
        total = kernel + stride - 2 + max(kernel - stride, 0)
        low = kernel - 1
    return low, total - low


def _bind(primitive: Primitive, first: Array, second: Array, **params) -> Array:
    """Applies the primitive to operands of one member.

    Inside `shard_map`, an operand that all devices share is cast to one that each device has of its
    own. The transpose of that cast sums the operand's gradient over the devices.
    """
    varying = [jax.typeof(operand).mat.varying for operand in (first, second)]
    operands = []
    for operand, own in zip((first, second), varying, strict=True):
        missing = tuple(varying[0].union(varying[1]) - own)
        operand = lax.pcast(operand, missing, to="varying") if missing else operand
        operands.append(operand[None])
    return primitive.bind(*operands, **params)[0]


# The primitives and their derivatives.


def _bilinear(name: str) -> Primitive:
    """Makes a primitive; the modules `native` and `cpu` have its lowerings under the same name."""
    primitive = Primitive(name)
    # One jitted function serves all calls: a new one would be compiled at each call outside of jit.
    static = ("geometry", "in_size", "kernel_size")
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=static))
    lowering = partial(_each_member, jax.vmap, getattr(native, name))
    primitive.def_abstract_eval(
        lambda *args, **params: jax.make_jaxpr(partial(lowering, **params))(*args).out_avals[0]
    )
    mlir.register_lowering(primitive, mlir.lower_fun(lowering, multiple_results=False))

    def on_cpu(first, second, **params):
        mapped, module = (jax.vmap, native) if os.environ.get(NATIVE) else (one_by_one, cpu)
        return _each_member(mapped, getattr(module, name), first, second, **params)

    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), "cpu")
    return primitive


def _each_member(mapped: Callable, function: Callable, first: Array, second: Array, **params):
    """Applies the function to each member, by `mapped` (vmap or a loop) if there are several."""
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


# Where each primitive, by name, has the output image [member, batch, height, width, outputs] and
# the kernel [member, height, width, group_inputs, outputs] among its operands and its result.
OPERANDS = {"convolve": (2, 1), "input_gradient": (0, 1), "kernel_gradient": (1, 2)}

# For each primitive, its transposes in the first and in the second operand. The cotangent comes
# first; the operand to transpose in is known only by its shape, `.aval`.
ad.defbilinear(
    _convolve,
    lambda g, x, kernel, geometry: _gradient_of_input(g, kernel, x.aval, geometry),
    lambda g, x, kernel, geometry: _gradient_of_kernel(x, g, kernel.aval, geometry),
)
ad.defbilinear(
    _input_gradient,
    lambda x, g, kernel, geometry, in_size: _convolve.bind(x, kernel, geometry=geometry),
    lambda x, g, kernel, geometry, in_size: _gradient_of_kernel(x, g, kernel.aval, geometry),
)
ad.defbilinear(
    _kernel_gradient,
    lambda kernel, x, g, geometry, kernel_size: _gradient_of_input(g, kernel, x.aval, geometry),
    lambda kernel, x, g, geometry, kernel_size: _convolve.bind(x, kernel, geometry=geometry),
)


# vmap of the primitives.


class _Fold(NamedTuple):
    """The axis of an array that takes in the axis of vmap."""

    axis: int
    by_group: bool  # Whether groups divide it, so that each group takes in its own part.


_BATCH, _INPUTS, _CHANNELS = _Fold(1, False), _Fold(3, False), _Fold(4, True)
# For each primitive, a pair for vmap over its first operand only and a pair for its second: the
# axis of the operand that takes in the axis of vmap, and the axis of the result. Arrays lead with
# members here; groups divide the channels of an image and the outputs of a kernel.
_FOLDS = {
    _convolve: ((_BATCH, _BATCH), (_CHANNELS, _CHANNELS)),
    _input_gradient: ((_BATCH, _BATCH), (_INPUTS, _CHANNELS)),
    _kernel_gradient: ((_CHANNELS, _INPUTS), (_CHANNELS, _CHANNELS)),
}


def _batch(primitive: Primitive, operands, dims, geometry, **params):
    """Widens the batch or the channels under vmap over one operand, adds members under both."""
    count = next(x.shape[dim] for x, dim in zip(operands, dims, strict=True) if dim is not None)
    run = partial(primitive.bind, geometry=geometry, **params)
    if None not in dims:
        members = [_fold(x, dim, 0) for x, dim in zip(operands, dims, strict=True)]
        return _unfold(run(*members), count, 0), 0
    mapped = 1 - dims.index(None)
    into, result = _FOLDS[primitive][mapped]
    operands = list(operands)
    groups = geometry.groups if into.by_group else 1
    operands[mapped] = _fold(operands[mapped], dims[mapped], into.axis, groups)
    groups = geometry.groups if result.by_group else 1
    return _unfold(run(*operands), count, result.axis, groups), 0


def _fold(x: Array, dim: int, axis: int, groups: int = 1) -> Array:
    """Takes the axis `dim` into the axis `axis` of the array without it, inside of each group."""
    x = _move_axis(x, dim, axis)
    before, count, size, after = x.shape[:axis], *x.shape[axis : axis + 2], x.shape[axis + 2 :]
    x = x.reshape(*before, count, groups, size // groups, *after).swapaxes(axis, axis + 1)
    return x.reshape(*before, count * size, *after)


def _unfold(x: Array, count: int, axis: int, groups: int = 1) -> Array:
    """Takes a leading axis of size `count` out of the axis `axis`: the inverse of `_fold`."""
    before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    x = x.reshape(*before, groups, count, size // groups // count, *after)
    x = _move_axis(x, axis + 1, 0)
    return x.reshape(count, *before, size // count, *after)


def _move_axis(x: Array, source: int, target: int) -> Array:
    order = [axis for axis in range(x.ndim) if axis != source]
    order.insert(target, source)
    return x.transpose(order)


for _primitive in _FOLDS:
    batching.primitive_batchers[_primitive] = partial(_batch, _primitive)
