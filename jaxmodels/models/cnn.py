"""The small convolutional network of the MNIST tutorials."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.models.layers import BatchNorm, Conv, Dropout, Rate
from jaxmodels.models.options import require_at_least
from jaxmodels.ops import max_pool


@dataclass(frozen=True, kw_only=True)
class CNNConfig:
    """Options of the small convolutional network: 824,458 parameters for MNIST by default."""

    channels: tuple[int, ...] = (32, 64)
    """Channels of the convolutions."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the hidden linear layers."""
    batch_norm: bool = False
    """Normalise activations over the batch, after each convolution."""

    def validate(self) -> None:
        """Raises InputError for a width below 1."""
        require_at_least(1, self, "channels", "hidden")

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "CNN":
        """Creates the classifier."""
        self.validate()
        return CNN(classes, self.channels, self.hidden, self.batch_norm, dtype)


class CNN(nn.Module):
    """3x3 convolutions, each with ReLU and 2x2 max pooling, then linear layers and a head.

    Pooling ends when a side has one pixel.
    """

    classes: int
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    batch_norm: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch outputs"]:
        """Gives the logits of the classes, or without the head its input."""
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
        if head:
            x = nn.Dense(self.classes, dtype=self.dtype)(x)
        return x.astype(jnp.float32)

    def features(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(x, head=False)
