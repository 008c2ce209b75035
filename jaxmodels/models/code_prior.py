"""An autoregressive distribution of a grid of codes."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int, Key

from jaxmodels.models.layers import Dense
from jaxmodels.ops.needed_share import marked, needed_pairs


class CodePrior(nn.Module):
    """A causal transformer (Vaswani et al. 2017; normalisation first) over codes in raster order,
    conditioned on a class if classes > 0."""

    codes: int
    positions: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, codes: Int[Array, "batch positions"], labels: Int[Array, " batch"] | None = None
    ) -> Float[Array, "batch positions codes"]:
        """Gives the logits of each code given those before it."""
        batch = len(codes)
        normal = nn.initializers.normal(0.02)
        # The first position gets the vector `start`; every other gets the code before it.
        start = self.param("start", normal, (max(self.classes, 1), self.width))
        first = jnp.broadcast_to(start[0], (batch, self.width)) if labels is None else start[labels]
        before = nn.Embed(self.codes, self.width, embedding_init=normal)(codes[:, :-1])
        x = jnp.concatenate([first[:, None], before], axis=1)
        x = (x + self.param("position", normal, (self.positions, self.width))).astype(self.dtype)
        mask = jnp.tril(jnp.ones((self.positions, self.positions), bool))
        for _ in range(self.layers):
            y = nn.LayerNorm(dtype=self.dtype)(x)
            split = (batch, self.positions, self.heads, self.width // self.heads)
            query, key, value = (
                part.reshape(split)
                for part in jnp.split(Dense(3 * self.width, dtype=self.dtype)(y), 3, axis=-1)
            )
            with marked(needed_pairs(self.positions) / self.positions**2):
                y = jax.nn.dot_product_attention(query, key, value, mask=mask[None, None])
            x = x + Dense(self.width, dtype=self.dtype)(y.reshape(x.shape))
            y = nn.gelu(Dense(4 * self.width, dtype=self.dtype)(nn.LayerNorm(dtype=self.dtype)(x)))
            x = x + Dense(self.width, dtype=self.dtype)(y)
        x = nn.LayerNorm(dtype=self.dtype)(x)
        return Dense(self.codes, dtype=self.dtype)(x).astype(jnp.float32)

    def sample(
        self, keys: Key[Array, " batch"], labels: Int[Array, " batch"] | None = None
    ) -> Int[Array, "batch positions"]:
        """Draws one grid per key, position by position."""
        # jax's loops take pure functions, not bound modules.
        module, variables = self.unbind()

        def draw(at, codes):
            logits = module.apply(variables, codes, labels)[:, at]
            each = jax.vmap(lambda key: jax.random.fold_in(key, at))(keys)
            return codes.at[:, at].set(jax.vmap(jax.random.categorical)(each, logits))

        start = jnp.zeros((len(keys), self.positions), jnp.int32)
        return jax.lax.fori_loop(0, self.positions, draw, start)
