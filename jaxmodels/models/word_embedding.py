"""The table of word vectors that networks on words begin with."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across
from jaxmodels.models.layers import Rate
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.ops import example_seeds, hash_dropout, seeds_for


class WordEmbedding(nn.Module):
    """Vectors of the tokens of texts, zeros at padding, with dropout of numbers or of whole words.

    deviation: of the uniform initial values; Kim 2014 draws them from -0.25 to 0.25.
    """

    vocabulary: int
    width: int
    deviation: float = 0.25 / 3**0.5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        text: TextInput,
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        words: bool = False,
    ) -> Float[Array, "batch length width"]:
        """words: dropout leaves out words, not numbers (Iyyer et al. 2015, section 3.1)."""

        def init(key, shape):
            side = 3**0.5 * self.deviation
            return nn.initializers.uniform(2 * side)(key, shape) - side

        table = self.param("embedding", init, (self.vocabulary, self.width))
        x = jnp.where(text.valid[..., None], jnp.take(table, text.ids, axis=0), 0)
        x = x.astype(self.dtype)
        if dropout_rate is None or not train:
            return x
        seeds = example_seeds(self.make_rng("dropout"), across.positions(len(x)))
        if not words:
            return hash_dropout(x, dropout_rate, seeds_for(seeds, 0))
        kept = hash_dropout(jnp.ones(x.shape[:2], x.dtype), dropout_rate, seeds_for(seeds, 0))
        return x * kept[..., None]
