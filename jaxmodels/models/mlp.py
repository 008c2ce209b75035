"""Multi-layer perceptron."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.models.layers import BatchNorm, Dropout


class MLP(nn.Module):
    """Flatten, then linear layers with ReLU between them; `hidden` lists the widths."""

    classes: int
    hidden: tuple[int, ...] = (512, 512)
    batch_norm: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *shape"],
        *,
        train: bool = False,
        dropout_rate: Float[Array, ""] | None = None,
    ) -> Float[Array, "batch classes"]:
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            # A bias before BatchNorm has no gradient, only noise that Adam would amplify.
            x = nn.Dense(width, use_bias=not self.batch_norm, dtype=self.dtype)(x)
            if self.batch_norm:
                x = BatchNorm(dtype=self.dtype)(x, train=train)
            x = Dropout()(nn.relu(x), rate=dropout_rate, train=train)
        return nn.Dense(self.classes, dtype=self.dtype)(x).astype(jnp.float32)
