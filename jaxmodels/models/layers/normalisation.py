"""Normalisation of activations."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels import across
from jaxmodels.ops.materialize import materialize_on_cpu


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015); names and biased running variance as in flax.

    Statistics are those of the global batch, whether jit over a mesh or pmap runs it. In training,
    the moments of the batch itself go to the collection "batch_moments" if that is mutable.

    classes: if above 0, calls take labels, and each class has its own scale and bias (conditional
      BatchNorm, Dumoulin et al. 2017).
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
        mean, variance = self._moments(x, train)
        channels = x.shape[-1:]
        table = (self.classes, *channels) if self.classes else channels
        scale = self.param("scale", self.scale_init, table)
        bias = self.param("bias", nn.initializers.zeros, table)
        if self.classes:
            each = (-1, *[1] * (x.ndim - 2), *channels)
            scale, bias = scale[labels].reshape(each), bias[labels].reshape(each)
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)

    def _moments(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Gives the mean and variance that normalise; training updates the running ones."""
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
        running_variance = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:])
        if not train:
            return running_mean.value, running_variance.value
        axes = tuple(range(x.ndim - 1))
        wide = x.astype(jnp.float32)
        mean, square = across.average((jnp.mean(wide, axes), jnp.mean(jnp.square(wide), axes)))
        # Rounding may leave a tiny negative number where the variance is zero.
        variance = jnp.maximum(square - jnp.square(mean), 0)
        if not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_variance.value = keep * running_variance.value + (1 - keep) * variance
            for name, moment in (("mean", mean), ("square", square)):
                self.sow("batch_moments", name, moment, reduce_fn=lambda _, new: new)
        return mean, variance


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al. 2016) over the last axis, in float32; names and values as
    `flax.linen.LayerNorm` without its fast variance."""

    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*rest width"]) -> Float[Array, "*rest width"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        y = centred * jax.lax.rsqrt(variance + self.epsilon)
        y *= self.param("scale", nn.initializers.ones, x.shape[-1:])
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return materialize_on_cpu(y.astype(self.dtype))


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018) over pixels and the channels of a group, in float32;
    names and values as `flax.linen.GroupNorm`.

    Raises:
      ValueError: groups that do not divide the channels.
    """

    groups: int = 32
    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"{channels} channels in {self.groups} groups; expected a divisor")
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        # Moments of channels first: a CPU adds up along the last axis but one faster.
        moments = jnp.stack([jnp.mean(wide, (1, 2)), jnp.mean(jnp.square(wide), (1, 2))])
        grouped = jnp.mean(moments.reshape(2, x.shape[0], self.groups, -1), axis=-1, keepdims=True)
        grouped = jnp.broadcast_to(grouped, (2, x.shape[0], self.groups, channels // self.groups))
        mean, square = grouped.reshape(2, x.shape[0], channels)
        # Rounding may leave a tiny negative number where the variance is zero.
        variance = jnp.maximum(square - jnp.square(mean), 0)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        shift = bias - mean * factor
        return (wide * factor[:, None, None] + shift[:, None, None]).astype(self.dtype)


def rms_norm(x: Float[Array, "*rest width"], epsilon: float) -> Float[Array, "*rest width"]:
    """Divides by the root mean square over the last axis (Zhang & Sennrich 2019), in float32,
    without parameters."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(square + epsilon)).astype(x.dtype)
