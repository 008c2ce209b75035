"""Batch normalisation of each range of frequencies by itself."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across


class SubSpectralNorm(nn.Module):
    """Sub-spectral normalisation (Chang et al. 2021): the rows are divided into ranges of equal
    numbers of frequencies, each with its own statistics, scale and bias, as `BatchNorm` has them.

    Raises:
      ValueError: frequencies that the ranges do not divide.
    """

    ranges: int = 5
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frequencies frames channels"], *, train: bool
    ) -> Float[Array, "batch frequencies frames channels"]:
        batch, frequencies, frames, channels = x.shape
        if frequencies % self.ranges:
            raise ValueError(
                f"{frequencies} frequencies; expected a multiple of the {self.ranges} ranges"
            )
        # An axis of ranges costs nothing; ranges beside the channels would be two transpositions.
        parts = x.reshape(batch, self.ranges, frequencies // self.ranges, frames, channels)
        shape = (self.ranges, channels)
        mean, variance = self._moments(parts, shape, train)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        factor, offset = (
            jnp.repeat(each, frequencies // self.ranges, axis=0)[:, None]
            for each in (factor, bias - mean * factor)
        )
        return (x * factor + offset).astype(self.dtype)

    def _moments(self, parts: Array, shape: tuple[int, int], train: bool) -> tuple[Array, Array]:
        """Gives the mean and variance that normalise; training updates the running ones."""
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            return running_mean.value, running_variance.value
        wide = parts.astype(jnp.float32)
        moments = (jnp.mean(each, (0, 2, 3)) for each in (wide, jnp.square(wide)))
        mean, square = across.average(tuple(moments))
        # Rounding may leave a tiny negative number where the variance is zero.
        variance = jnp.maximum(square - jnp.square(mean), 0)
        if not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_variance.value = keep * running_variance.value + (1 - keep) * variance
        return mean, variance
