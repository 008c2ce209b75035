"""What classifiers of text are given, and means over it that leave padding out."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

PADDING = -1


class TextInput(NamedTuple):
    """Texts of one length, filled up at their ends.

    tokens: `PADDING` where a text has ended. segments: the number of the text that a token is of,
    where an example has several; 0 at padding.
    """

    tokens: Int[Array, "batch length"]
    segments: Int[Array, "batch length"]

    @property
    def valid(self) -> Bool[Array, "batch length"]:
        """Marks the tokens that are there."""
        return self.tokens >= 0

    @property
    def ids(self) -> Int[Array, "batch length"]:
        """Gives the tokens with 0 for padding, to look up a table with."""
        return jnp.maximum(self.tokens, 0)


def masked_mean(
    x: Float[Array, "batch length width"], valid: Bool[Array, "batch length"]
) -> Float[Array, "batch width"]:
    """Computes the mean over the tokens that are there, in float32; 0 where there is none."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    total = jnp.sum(jnp.where(valid[..., None], x, 0), axis=1, dtype=wide)
    return total / jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1).astype(wide)
