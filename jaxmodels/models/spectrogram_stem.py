"""The start of networks on spectrograms: each one brought to mean 0 and variance 1, and frames
halved by convolutions."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from jaxmodels.models.layers import Conv, Dense
from jaxmodels.ops.materialize import materialize_on_cpu

_EPSILON = 1e-5  # added to variances


class Stem(nn.Module):
    """Convolutions over time of kernel 3 and stride 2, or a linear layer without halvings."""

    width: int
    halvings: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch frames bands"], frames: Int[Array, " batch"]
    ) -> tuple[Float[Array, "batch places width"], Int[Array, " batch"]]:
        """Gives the stream, zero at places that do not count, and how many places count."""
        x = standardized(features, frames).astype(self.dtype)
        for number in range(self.halvings):
            conv = Conv(self.width, (3,), (2,), [(1, 1)], dtype=self.dtype, name=f"conv_{number}")
            frames = (frames + 1) // 2
            x = materialize_on_cpu(nn.gelu(conv(x), approximate=True))
            # What is behind the end must not reach the last places of the next layer.
            x = jnp.where(there(frames, x.shape[1])[..., None], x, 0)
        if not self.halvings:
            x = nn.gelu(Dense(self.width, dtype=self.dtype, name="linear")(x), approximate=True)
        return x, frames


def standardized(
    features: Float[Array, "batch frames bands"], frames: Int[Array, " batch"]
) -> Float[Array, "batch frames bands"]:
    """Brings each band of each example to mean 0 and variance 1 over the frames that count, and
    sets the others to 0."""
    counts = there(frames, features.shape[1])[..., None]
    number = jnp.maximum(frames, 1)[:, None, None]
    mean = jnp.sum(jnp.where(counts, features, 0), axis=1, keepdims=True) / number
    centred = jnp.where(counts, features - mean, 0)
    variance = jnp.sum(jnp.square(centred), axis=1, keepdims=True) / number
    return centred * jax.lax.rsqrt(variance + _EPSILON)


def there(count: Int[Array, " batch"], length: int) -> Bool[Array, "batch length"]:
    """Marks the first `count` of so many places."""
    return jnp.arange(length) < count[:, None]
