"""The linear layer, spectral normalisation, and the base of all layers with a kernel."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, DTypeLike, Inexact, Num

default_kernel_init = nn.initializers.lecun_normal()


class SpectralNorm(nn.Module):
    """A kernel divided by its largest singular value (Miyato et al. 2018, algorithm 1).

    The kernel counts as the matrix [inputs, outputs]. Each call takes one step of power iteration,
    and keeps its result if the collection "spectral" is mutable.
    """

    epsilon: float = 1e-12

    @nn.compact
    def __call__(
        self, kernel: Inexact[Array, "*inputs outputs"]
    ) -> Inexact[Array, "*inputs outputs"]:
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


class KernelLayer(nn.Module):
    """The parameters of a layer with a kernel.

    Each layer declares its own fields, in the order of its counterpart in flax.
    """

    def kernel(
        self, shape: tuple[int, ...], mask: Num[Array, "..."] | None = None
    ) -> Inexact[Array, "..."]:
        """Makes the kernel parameter, times the mask, spectrally normalised if `spectral`.

        Raises:
          ValueError: a mask of another shape, with flax's message.
        """
        if mask is not None and mask.shape != shape:
            raise ValueError(
                f"Mask needs to have the same shape as weights. Shapes are: {mask.shape}, {shape}"
            )
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        if mask is not None:
            kernel *= mask
        return SpectralNorm()(kernel) if self.spectral else kernel

    def bias(self) -> Inexact[Array, " features"] | None:
        """Makes the bias parameter; None without `use_bias`."""
        if not self.use_bias:
            return None
        return self.param("bias", self.bias_init, (self.features,), self.param_dtype)


class Dense(KernelLayer):
    """Linear layer; fields, parameters, initialisation and values as `flax.linen.Dense`.

    spectral: the kernel is divided by its largest singular value.
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    precision: lax.PrecisionLike = None
    kernel_init: Callable = default_kernel_init
    bias_init: Callable = nn.initializers.zeros
    promote_dtype: Callable = promote_dtype
    dot_general: Callable | None = None
    dot_general_cls: Any = None
    spectral: bool = False

    @nn.compact
    def __call__(self, x: Num[Array, "*batch inputs"]) -> Inexact[Array, "*batch features"]:
        kernel, bias = self.kernel((x.shape[-1], self.features)), self.bias()
        x, kernel, bias = self.promote_dtype(x, kernel, bias, dtype=self.dtype)
        own = self.dot_general_cls() if self.dot_general_cls else self.dot_general
        dot_general = own or lax.dot_general
        last_with_first = (((x.ndim - 1,), (0,)), ((), ()))
        y = dot_general(x, kernel, last_with_first, precision=self.precision)
        return y if bias is None else y + bias
