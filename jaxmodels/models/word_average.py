"""Averages of word vectors: deep averaging networks (Iyyer et al. 2015), fastText's classifier
without layers (Joulin et al. 2017)."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.models.layers import Dense, Dropout, Rate
from jaxmodels.models.options import require_at_least
from jaxmodels.models.text_inputs import TextInput, masked_mean
from jaxmodels.models.word_embedding import WordEmbedding


@dataclass(frozen=True, kw_only=True)
class WordAverageConfig:
    """Options of averages of word vectors."""

    width: int = 300
    """Numbers of a word's vector."""
    hidden: tuple[int, ...] = ()
    """Widths of layers with ReLU on the average (Iyyer et al. 2015: 300 300)."""

    def validate(self) -> None:
        """Raises InputError for a width below 1."""
        require_at_least(1, self, "width", "hidden")

    def create(
        self, classes: int, vocabulary: int, dtype: DTypeLike = jnp.float32
    ) -> "WordAverage":
        """Creates the classifier."""
        self.validate()
        return WordAverage(classes, vocabulary, self.width, self.hidden, dtype)


class WordAverage(nn.Module):
    """The mean of the vectors of a text's words, layers with ReLU, and a head. Dropout leaves out
    words, and numbers of each layer."""

    classes: int
    vocabulary: int
    width: int
    hidden: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        text: TextInput,
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch outputs"]:
        """Gives the logits of the classes, or without the head its input."""
        options = {"train": train, "dropout_rate": dropout_rate}
        embedding = WordEmbedding(self.vocabulary, self.width, dtype=self.dtype, name="words")
        x = masked_mean(embedding(text, words=True, **options), text.valid).astype(self.dtype)
        for width in self.hidden:
            x = nn.relu(Dense(width, dtype=self.dtype)(x))
            x = Dropout()(x, rate=dropout_rate, train=train)
        if head:
            x = Dense(self.classes, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def features(self, text: TextInput) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(text, head=False)
