"""The small convolutional network of the MNIST tutorials."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.models.layers import BatchNorm, Conv, Dropout
from jaxmodels.ops import max_pool


class CNN(nn.Module):
    """3x3 convolutions, each with ReLU and 2x2 max pooling, then one hidden linear layer.

    With the defaults and 28x28x1 images: 824,458 parameters. An image too small to halve as often
    as there are convolutions is pooled as often as it can be.
    """

    classes: int
    channels: tuple[int, ...] = (32, 64)
    hidden: tuple[int, ...] = (256,)
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        *,
        train: bool = False,
        dropout_rate: Float[Array, ""] | None = None,
    ) -> Float[Array, "batch classes"]:
        for width in self.channels:
            # A bias before BatchNorm has no gradient, only noise that Adam would amplify.
            x = Conv(width, use_bias=not self.batch_norm, dtype=self.dtype)(x)
            if self.batch_norm:
                x = BatchNorm(dtype=self.dtype)(x, train=train)
            x = nn.relu(x)
            if min(x.shape[1:3]) >= 2:
                x = max_pool(x)
        x = Dropout()(x.reshape(x.shape[0], -1), rate=dropout_rate, train=train)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, dtype=self.dtype)(x))
            x = Dropout()(x, rate=dropout_rate, train=train)
        return nn.Dense(self.classes, dtype=self.dtype)(x).astype(jnp.float32)
