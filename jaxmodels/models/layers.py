"""Layers with flax's parameter names, on the package's own operations."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import ops
from jaxmodels.protocol import average_across_devices, example_keys

default_kernel_init = nn.initializers.lecun_normal()


class Conv(nn.Module):
    """2-D convolution; parameters and initialisation as `flax.linen.Conv`."""

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: int | tuple[int, int] = 1
    padding: str | int | Sequence = "SAME"
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    kernel_init: Callable = default_kernel_init
    operation: Callable = ops.conv

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch out_height out_width features"]:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = self.operation(
            x.astype(self.dtype), kernel.astype(self.dtype), self.strides, self.padding
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y += bias.astype(self.dtype)
        return y


class ConvTranspose(Conv):
    """2-D transposed convolution; parameters and initialisation as `flax.linen.ConvTranspose`."""

    operation: Callable = ops.conv_transpose


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015); names and biased running variance as in flax.

    Statistics are those of the global batch, whether jit over a mesh or pmap runs it.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *rest channels"], *, train: bool
    ) -> Float[Array, "batch *rest channels"]:
        shape = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            axes = tuple(range(x.ndim - 1))
            wide = x.astype(jnp.float32)
            mean, square = average_across_devices(
                (jnp.mean(wide, axes), jnp.mean(jnp.square(wide), axes))
            )
            # Rounding may leave a tiny negative number where the variance is zero.
            var = jnp.maximum(square - jnp.square(mean), 0)
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * var
        else:
            mean, var = running_mean.value, running_var.value
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
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
        keys = example_keys(self.make_rng("dropout"), x.shape[0])
        uniform = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(keys)
        return jnp.where(uniform >= rate, x / (1 - rate), 0).astype(x.dtype)
