"""The keyword transformer."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.layers import Dense, Dropout, Rate
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.options import require_at_least

# Width and heads; all have 12 blocks and MLPs of four times the width.
VARIANTS = {"1": (64, 1), "2": (128, 2), "3": (192, 3)}
_EPSILON = 1e-6  # of layer norms

_init = nn.initializers.truncated_normal(0.02)


@dataclass(frozen=True, kw_only=True)
class KWTConfig:
    """Options of the keyword transformer."""

    variant: str = "1"
    """Network: 1, 2 or 3, of 0.6, 2.4 and 5.4 million parameters."""
    width: int = 0
    """Width of the residual stream; 0: the variant's own."""
    depth: int = 12
    """Blocks."""
    heads: int = 0
    """Attention heads; 0: the variant's own."""

    def validate(self) -> None:
        """Raises InputError for an unknown variant or an impossible size."""
        require_known("variant", self.variant, VARIANTS)
        require_at_least(0, self, "width", "heads")
        require_at_least(1, self, "depth")

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "KWT":
        """Creates the classifier."""
        self.validate()
        width, heads = VARIANTS[self.variant]
        return KWT(classes, self.width or width, self.depth, self.heads or heads, dtype)


class KWT(nn.Module):
    """Keyword transformer (Berg et al. 2021): attention between the frames of a spectrogram and a
    class token, with learned positions, normalisation after each sum, and exact GELU.

    dropout_rate: after attention and the MLP of each block; 0.1 in their code.

    Raises:
      InputError: a width that the heads do not divide.
    """

    classes: int
    width: int = 64
    depth: int = 12
    heads: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch frames bands"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch outputs"]:
        """Gives the logits of the classes, or without the head its input."""
        if self.width % self.heads:
            raise InputError(f"width = {self.width}; expected a multiple of heads = {self.heads}")
        x = Dense(self.width, dtype=self.dtype, kernel_init=_init, name="embedding")(x)
        token = self.param("token", _init, (self.width,)).astype(self.dtype)
        token = jnp.broadcast_to(token, (x.shape[0], 1, self.width))
        # Weight decay, which is for kernels, leaves a table named bias alone.
        table = self.param("bias", _init, (x.shape[1] + 1, self.width))
        x = jnp.concatenate([token, x], axis=1) + table.astype(self.dtype)
        for index in range(self.depth):
            block = Block(self.heads, self.dtype, name=f"block_{index}")
            x = again(block, x, train=train, dropout_rate=dropout_rate)
        x = x[:, 0]
        if head:
            x = nn.Dense(self.classes, dtype=self.dtype, kernel_init=_init, name="head")(x)
        return x.astype(jnp.float32)

    def features(self, x: Float[Array, "batch frames bands"]) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(x, head=False)


class Block(nn.Module):
    """norm(x + attention(x)), then norm(x + MLP(x))."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch frames width"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> Float[Array, "batch frames width"]:
        def drop(y):
            return Dropout()(y, rate=dropout_rate, train=train)

        def norm(y, name):
            return nn.LayerNorm(_EPSILON, dtype=self.dtype, name=name)(y)

        width = x.shape[-1]
        x = norm(x + drop(Attention(self.heads, self.dtype, name="attention")(x)), "norm1")
        y = Dense(4 * width, dtype=self.dtype, kernel_init=_init, name="linear1")(x)
        y = drop(nn.gelu(y, approximate=False))
        y = Dense(width, dtype=self.dtype, kernel_init=_init, name="linear2")(y)
        return norm(x + drop(y), "norm2")


class Attention(nn.Module):
    """Multi-head attention of frames to each other; only its output has a bias."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch frames width"]) -> Float[Array, "batch frames width"]:
        def dense(name, use_bias):
            return Dense(x.shape[-1], use_bias, dtype=self.dtype, kernel_init=_init, name=name)

        query, key, value = (
            dense(name, False)(x).reshape(*x.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(self.dtype)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
        return dense("out", True)(y.reshape(x.shape))
