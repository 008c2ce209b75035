"""Layers with flax's parameter names, on the package's own operations."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels import across, ops
from jaxmodels.protocol import example_keys

default_kernel_init = nn.initializers.lecun_normal()
Size = tuple[int, int]


def halved(size: Size) -> Size:
    """Half a size, rounded up: what a strided 4x4 or 3x3 convolution leaves of it."""
    return tuple(-(-side // 2) for side in size)


def doubling_padding(size: Size) -> list[tuple[int, int]]:
    """Padding of the 4x4 `ConvTranspose` from `halved(size)` to `size`: the transpose of the
    convolution that halves it."""
    return [(2, 2 - side % 2) for side in size]


class SpectralNorm(nn.Module):
    """A kernel divided by its largest singular value (Miyato et al. 2018, algorithm 1).

    The kernel counts as the matrix [inputs, outputs]. Each call in which the collection "spectral"
    is mutable takes one step of power iteration, which is kept; any other takes it and forgets it.
    """

    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, kernel: Float[Array, "*inputs outputs"]) -> Float[Array, "*inputs outputs"]:
        matrix = kernel.reshape(-1, kernel.shape[-1])

        def normalize(vector):
            return vector / (jnp.linalg.norm(vector) + self.epsilon)

        u = self.variable(
            "spectral",
            "u",
            lambda: normalize(jax.random.normal(self.make_rng("params"), matrix.shape[1:])),
        )
        fixed = jax.lax.stop_gradient(matrix)
        v = normalize(fixed @ u.value)
        new = normalize(v @ fixed)
        if self.is_mutable_collection("spectral") and not self.is_initializing():
            u.value = new
        return kernel / (v @ matrix @ new)


class _Linear(nn.Module):
    """What all layers with a kernel share. Their fields are their own: the order differs."""

    def kernel(self, shape: Sequence[int]) -> Array:
        """The kernel parameter, spectrally normalised if asked for."""
        kernel = self.param("kernel", self.kernel_init, tuple(shape), self.param_dtype)
        return SpectralNorm()(kernel) if self.spectral else kernel

    def bias(self) -> Array | None:
        """The bias parameter, if there is one."""
        if not self.use_bias:
            return None
        return self.param("bias", self.bias_init, (self.features,), self.param_dtype)


class Dense(_Linear):
    """Linear layer; parameters and initialisation as `flax.linen.Dense`."""

    features: int
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    kernel_init: Callable = default_kernel_init
    bias_init: Callable = nn.initializers.zeros
    spectral: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        kernel, bias = self.kernel((x.shape[-1], self.features)), self.bias()
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = x @ kernel
        return y if bias is None else y + bias


class _Convolution(_Linear):
    def convolved(self, x: Array, kernel: Array, run: Callable) -> Array:
        """`run` of x, its batch axes (any number, or none) as one, and kernel; plus the bias."""
        x, kernel, bias = promote_dtype(x, kernel, self.bias(), dtype=self.dtype)
        batch, sides = x.shape[: x.ndim - kernel.ndim + 1], x.shape[x.ndim - kernel.ndim + 1 :]
        y = run(x.reshape(-1, *sides), kernel)
        y = y.reshape(*batch, *y.shape[1:])
        return y if bias is None else y + bias


class Conv(_Convolution):
    """Convolution over one or two axes; fields, parameters and initialisation as
    `flax.linen.Conv`, whose input_dilation, mask and replaceable functions it lacks.

    padding: also "CIRCULAR", "REFLECT" and, along one axis, "CAUSAL".
    spectral: the kernel is divided by its largest singular value.

    Raises:
      ValueError: as `jaxmodels.ops.conv`, and for "CAUSAL" along two axes.
    """

    features: int
    kernel_size: int | Sequence[int] = (3, 3)
    strides: int | Sequence[int] | None = 1
    padding: str | int | Sequence = "SAME"
    kernel_dilation: int | Sequence[int] | None = 1
    feature_group_count: int = 1
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: lax.PrecisionLike = None
    kernel_init: Callable = default_kernel_init
    bias_init: Callable = nn.initializers.zeros
    spectral: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch size inputs"]
    ) -> Float[Array, "*batch out_size features"]:
        size, groups = _sizes(self.kernel_size), self.feature_group_count
        kernel = self.kernel((*size, x.shape[-1] // groups, self.features))
        dilation = self.kernel_dilation or 1

        def run(x, kernel):
            x, padding = _padded(x, size, dilation, self.padding)
            return ops.conv(
                x,
                kernel,
                self.strides or 1,
                padding,
                kernel_dilation=dilation,
                groups=groups,
                precision=self.precision,
            )

        return self.convolved(x, kernel, run)


class ConvTranspose(_Convolution):
    """Transposed convolution over one or two axes; fields, parameters and initialisation as
    `flax.linen.ConvTranspose`, whose mask, "CIRCULAR" padding and replaceable functions it lacks.

    transpose_kernel: the kernel is that of the convolution whose input gradient this is, [*size,
    features, inputs].
    spectral: the kernel is divided by its largest singular value.

    Raises:
      ValueError: as `jaxmodels.ops.conv_transpose`.
    """

    features: int
    kernel_size: int | Sequence[int] = (3, 3)
    strides: int | Sequence[int] | None = 1
    padding: str | int | Sequence = "SAME"
    kernel_dilation: int | Sequence[int] | None = 1
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: lax.PrecisionLike = None
    kernel_init: Callable = default_kernel_init
    bias_init: Callable = nn.initializers.zeros
    transpose_kernel: bool = False
    spectral: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch size inputs"]
    ) -> Float[Array, "*batch out_size features"]:
        channels = x.shape[-1], self.features
        size = _sizes(self.kernel_size)
        kernel = self.kernel((*size, *(channels[::-1] if self.transpose_kernel else channels)))
        dilation = self.kernel_dilation or 1

        def run(x, kernel):
            if self.transpose_kernel:
                kernel = jnp.flip(kernel, range(len(size))).swapaxes(-1, -2)
            return ops.conv_transpose(
                x,
                kernel,
                self.strides or 1,
                self.padding,
                kernel_dilation=dilation,
                precision=self.precision,
            )

        return self.convolved(x, kernel, run)


def _sizes(size: int | Sequence[int]) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


def _padded(x: Array, size: Sequence[int], dilation: int | Sequence[int], padding):
    """x padded by what is not zeros, and the padding that is left to do."""
    if padding not in ("CIRCULAR", "REFLECT", "CAUSAL"):
        return x, padding
    dilation = (dilation,) * len(size) if isinstance(dilation, int) else dilation
    reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
    if padding == "CAUSAL":
        if len(size) > 1:
            raise ValueError(f"padding 'CAUSAL' with a kernel of size {size}; expected one axis")
        return x, [(reach[0], 0)]
    edges = [(0, 0), *((n // 2, (n + 1) // 2) for n in reach), (0, 0)]
    return jnp.pad(x, edges, mode={"CIRCULAR": "wrap", "REFLECT": "reflect"}[padding]), "VALID"


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015); names and biased running variance as in flax.

    Statistics are those of the global batch, whether jit over a mesh or pmap runs it. In training,
    the moments of the batch itself go to the collection "batch_moments" if that is mutable.

    classes: with more than 0, each class has its own scale and bias, and labels are an argument
    (conditional BatchNorm, Dumoulin et al. 2017).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    classes: int = 0
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *rest channels"],
        labels: Int[Array, " batch"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "batch *rest channels"]:
        shape = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            axes = tuple(range(x.ndim - 1))
            wide = x.astype(jnp.float32)
            mean, square = across.average((jnp.mean(wide, axes), jnp.mean(jnp.square(wide), axes)))
            # Rounding may leave a tiny negative number where the variance is zero.
            var = jnp.maximum(square - jnp.square(mean), 0)
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * var
                for name, moment in (("mean", mean), ("square", square)):
                    self.sow("batch_moments", name, moment, reduce_fn=lambda _, new: new)
        else:
            mean, var = running_mean.value, running_var.value
        table = (self.classes, *shape) if self.classes else shape
        scale = self.param("scale", self.scale_init, table)
        bias = self.param("bias", nn.initializers.zeros, table)
        if self.classes:
            each = (-1, *[1] * (x.ndim - 2), shape[0])
            scale, bias = scale[labels].reshape(each), bias[labels].reshape(each)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) keyed per example, so that device counts do not matter.

    The rate is an argument, not an attribute: it may be a traced hyperparameter. None: no dropout.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *rest"], *, rate: Float[Array, ""] | None, train: bool
    ) -> Float[Array, "batch *rest"]:
        if rate is None or not train:
            return x
        keys = example_keys(self.make_rng("dropout"), across.positions(x.shape[0]))
        uniform = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(keys)
        return jnp.where(uniform >= rate, x / (1 - rate), 0).astype(x.dtype)
