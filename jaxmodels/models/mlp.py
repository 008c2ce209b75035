"""Multi-layer perceptron."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.models.layers import BatchNorm, Dropout, Rate
from jaxmodels.models.options import require_at_least


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """Options of the multi-layer perceptron."""

    hidden: tuple[int, ...] = (512, 512)
    """Widths of the hidden linear layers."""
    batch_norm: bool = False
    """Normalise activations over the batch."""

    def validate(self) -> None:
        """Raises InputError for a width below 1."""
        require_at_least(1, self, "hidden")

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "MLP":
        """Creates the classifier."""
        self.validate()
        return MLP(classes, self.hidden, self.batch_norm, dtype)


class MLP(nn.Module):
    """Linear layers of widths `hidden` on the flattened input, each with ReLU, and a head."""

    classes: int
    hidden: tuple[int, ...]
    batch_norm: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *shape"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch outputs"]:
        """Gives the logits of the classes, or without the head its input."""
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            # A bias before BatchNorm has no gradient, only noise that Adam would amplify.
            x = nn.Dense(width, use_bias=not self.batch_norm, dtype=self.dtype)(x)
            if self.batch_norm:
                x = BatchNorm(dtype=self.dtype)(x, train=train)
            x = Dropout()(nn.relu(x), rate=dropout_rate, train=train)
        if head:
            x = nn.Dense(self.classes, dtype=self.dtype)(x)
        return x.astype(jnp.float32)

    def features(self, x: Float[Array, "batch *shape"]) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(x, head=False)
