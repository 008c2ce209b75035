"""Convolution and transposed convolution, and the sizes of their outputs."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.linen.linear import canonicalize_padding
from jax import lax
from jaxtyping import Array, DTypeLike, Inexact, Num

from jaxmodels import ops
from jaxmodels.models.layers.linear import KernelLayer, default_kernel_init

Size = tuple[int, int]  # height, width


def halved(size: Size) -> Size:
    """Halves a size, rounding up, as a strided 4x4 or 3x3 convolution does."""
    height, width = size
    return -(-height // 2), -(-width // 2)


def doubling_padding(size: Size) -> list[tuple[int, int]]:
    """Gives the padding of a 4x4 `ConvTranspose` from `halved(size)` to `size`, which makes it the
    transpose of the halving convolution."""
    return [(2, 2 - side % 2) for side in size]


class _Convolution(KernelLayer):
    """The base of both convolutions: any number of batch axes, promotion of types, the bias."""

    def convolved(
        self, x: Num[Array, "..."], kernel: Inexact[Array, "..."], run: Callable
    ) -> Inexact[Array, "..."]:
        """Computes run(x, kernel) plus the bias, with any batch axes of x merged into one."""
        x, kernel, bias = self.promote_dtype(x, kernel, self.bias(), dtype=self.dtype)
        axes = x.ndim - kernel.ndim + 1
        batch, sides = x.shape[:axes], x.shape[axes:]
        y = run(x.reshape(-1, *sides), kernel)
        y = y.reshape(*batch, *y.shape[1:])
        return y if bias is None else y + bias


class Conv(_Convolution):
    """Convolution; fields, parameters, initialisation and values as `flax.linen.Conv`.

    Along one or two axes it runs as `jaxmodels.ops.conv`. XLA's convolution runs three axes and
    dilated inputs. `conv_general_dilated`, if given, runs everything.

    padding: also "CIRCULAR", "REFLECT" and, along one axis, "CAUSAL".
    spectral: the kernel is divided by its largest singular value.

    Raises:
      ValueError: as `jaxmodels.ops.conv`; "CAUSAL" along several axes; a mask whose shape is not
        that of the kernel.
    """

    features: int
    kernel_size: int | Sequence[int] = (3, 3)
    strides: int | Sequence[int] | None = 1
    padding: str | int | Sequence = "SAME"
    input_dilation: int | Sequence[int] | None = 1
    kernel_dilation: int | Sequence[int] | None = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: Num[Array, "..."] | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: lax.PrecisionLike = None
    kernel_init: Callable = default_kernel_init
    bias_init: Callable = nn.initializers.zeros
    promote_dtype: Callable = promote_dtype
    conv_general_dilated: Callable | None = None
    conv_general_dilated_cls: Any = None
    spectral: bool = False

    @nn.compact
    def __call__(
        self, x: Num[Array, "*batch_and_size inputs"]
    ) -> Inexact[Array, "*batch_and_out_size features"]:
        inputs = x.shape[-1] // self.feature_group_count
        shape = (*_sizes(self.kernel_size), inputs, self.features)
        return self.convolved(x, self.kernel(shape, self.mask), self._run)

    def _run(self, x: Array, kernel: Array) -> Array:
        axes = kernel.ndim - 2
        strides, input_dilation, kernel_dilation = (
            _each(count, axes)
            for count in (self.strides, self.input_dilation, self.kernel_dilation)
        )
        x, padding = _padded(x, kernel.shape[:axes], kernel_dilation, self.padding)
        made_by = self.conv_general_dilated_cls
        own = made_by() if made_by else self.conv_general_dilated
        if axes <= 2 and max(input_dilation) == 1 and not own:
            return ops.conv(
                x,
                kernel,
                strides,
                padding,
                kernel_dilation=kernel_dilation,
                groups=self.feature_group_count,
                precision=self.precision,
            )
        sides = range(1, axes + 1)
        order = (0, axes + 1, *sides), (axes + 1, axes, *range(axes)), (0, axes + 1, *sides)
        return (own or lax.conv_general_dilated)(
            x,
            kernel,
            strides,
            padding,
            lhs_dilation=input_dilation,
            rhs_dilation=kernel_dilation,
            dimension_numbers=lax.ConvDimensionNumbers(*order),
            feature_group_count=self.feature_group_count,
            precision=self.precision,
        )


class ConvTranspose(_Convolution):
    """Transposed convolution; fields, parameters, initialisation and values as
    `flax.linen.ConvTranspose`.

    Along one or two axes it runs as `jaxmodels.ops.conv_transpose`. XLA's convolution runs three
    axes, or a preferred element type.

    padding: also "CIRCULAR".
    transpose_kernel: the kernel is that of the convolution whose input gradient this is, [*size,
      features, inputs].
    spectral: the kernel is divided by its largest singular value.

    Raises:
      ValueError: as `jaxmodels.ops.conv_transpose`; a mask whose shape is not that of the kernel.
    """

    features: int
    kernel_size: int | Sequence[int] = (3, 3)
    strides: int | Sequence[int] | None = 1
    padding: str | int | Sequence = "SAME"
    kernel_dilation: int | Sequence[int] | None = 1
    use_bias: bool = True
    mask: Num[Array, "..."] | None = None
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: lax.PrecisionLike = None
    kernel_init: Callable = default_kernel_init
    bias_init: Callable = nn.initializers.zeros
    transpose_kernel: bool = False
    promote_dtype: Callable = promote_dtype
    preferred_element_type: DTypeLike | None = None
    spectral: bool = False

    @nn.compact
    def __call__(
        self, x: Num[Array, "*batch_and_size inputs"]
    ) -> Inexact[Array, "*batch_and_out_size features"]:
        channels = x.shape[-1], self.features
        if self.transpose_kernel:
            channels = channels[::-1]
        shape = (*_sizes(self.kernel_size), *channels)
        return self.convolved(x, self.kernel(shape, self.mask), self._run)

    def _run(self, x: Array, kernel: Array) -> Array:
        axes = kernel.ndim - 2
        strides, dilation = _each(self.strides, axes), _each(self.kernel_dilation, axes)
        padding = canonicalize_padding(self.padding, axes)
        circular = padding == "CIRCULAR"
        padding = "VALID" if circular else padding
        options = {"precision": self.precision}
        if self.transpose_kernel:
            kernel = jnp.flip(kernel, range(axes)).swapaxes(-1, -2)
        if axes <= 2 and self.preferred_element_type is None:
            options |= {"kernel_dilation": dilation}
            y = ops.conv_transpose(x, kernel, strides, padding, **options)
        else:
            options |= {
                "rhs_dilation": dilation,
                "preferred_element_type": self.preferred_element_type,
            }
            y = lax.conv_transpose(x, kernel, strides, padding, **options)
        if not circular:
            return y
        periods = [side * stride for side, stride in zip(x.shape[1:-1], strides, strict=True)]
        return _wrapped(y, periods, odd_pixel_last=self.transpose_kernel)


def _sizes(size: int | Sequence[int]) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


def _each(count: int | Sequence[int] | None, axes: int) -> tuple[int, ...]:
    """Gives a number per axis; None means 1."""
    count = 1 if count is None else count
    return (count,) * axes if isinstance(count, int) else tuple(count)


def _padded(x: Array, size: Sequence[int], dilation: Sequence[int], padding):
    """Pads x where the padding is not zeros; gives it and the zero padding that is left."""
    padding = canonicalize_padding(padding, len(size))
    if padding not in ("CIRCULAR", "REFLECT", "CAUSAL"):
        return x, padding
    reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
    if padding == "CAUSAL":
        if len(size) > 1:
            raise ValueError(f"padding 'CAUSAL' with a kernel of size {size}; expected one axis")
        return x, [(reach[0], 0)]
    edges = [(0, 0), *((n // 2, (n + 1) // 2) for n in reach), (0, 0)]
    return jnp.pad(x, edges, mode={"CIRCULAR": "wrap", "REFLECT": "reflect"}[padding]), "VALID"


def _wrapped(y: Array, periods: Sequence[int], odd_pixel_last: bool) -> Array:
    """Adds up the pixels of y that lie a whole number of periods apart, along each axis.

    The input lies in the middle of y. Zeros on both sides make y an odd number of periods long, so
    that the input starts where a period starts. If the number of zeros is odd, flax's choice of
    the longer side applies, because it decides how even kernels are aligned.
    """
    edges = []
    for side, period in zip(y.shape[1:-1], periods, strict=True):
        zeros = (period - side) % (2 * period)
        less, more = zeros // 2, (zeros + 1) // 2
        edges.append((less, more) if odd_pixel_last else (more, less))
    y = jnp.pad(y, [(0, 0), *edges, (0, 0)])
    for axis, period in enumerate(periods, 1):
        y = y.reshape(*y.shape[:axis], -1, period, *y.shape[axis + 1 :]).sum(axis)
    return y
