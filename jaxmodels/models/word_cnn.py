"""Convolutions over words (Kim 2014, Convolutional Neural Networks for Sentence Classification)."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, DTypeLike, Float

from jaxmodels.models.layers import Dense, Dropout, Rate
from jaxmodels.models.options import require_at_least
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.models.word_embedding import WordEmbedding


@dataclass(frozen=True, kw_only=True)
class WordCNNConfig:
    """Options of convolutions over words; those of Kim 2014, table 1."""

    width: int = 300
    """Numbers of a word's vector."""
    windows: tuple[int, ...] = (3, 4, 5)
    """Words that a filter sees."""
    maps: int = 100
    """Filters of each window."""
    word_dropout: bool = False
    """With --dropout, words are left out too; as published, only numbers before the head are."""

    def validate(self) -> None:
        """Raises InputError for a number below 1."""
        require_at_least(1, self, "width", "windows", "maps")

    def create(self, classes: int, vocabulary: int, dtype: DTypeLike = jnp.float32) -> "WordCNN":
        """Creates the classifier."""
        self.validate()
        sizes = self.width, self.windows, self.maps, self.word_dropout
        return WordCNN(classes, vocabulary, *sizes, dtype)


class WordCNN(nn.Module):
    """Filters over windows of words, ReLU, the maximum over the text, and a head (Kim 2014, section
    2). A window may reach beyond both ends of a text, where vectors are zero, but has a word of it;
    so the length of a row has no effect."""

    classes: int
    vocabulary: int
    width: int
    windows: tuple[int, ...]
    maps: int
    word_dropout: bool = False
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
        embedding = WordEmbedding(self.vocabulary, self.width, dtype=self.dtype, name="words")
        rate = dropout_rate if self.word_dropout else None
        words = embedding(text, words=True, train=train, dropout_rate=rate)
        found = [self._filtered(words, text.valid, window) for window in self.windows]
        x = Dropout()(jnp.concatenate(found, axis=-1), rate=dropout_rate, train=train)
        if head:
            x = Dense(self.classes, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def _filtered(
        self,
        words: Float[Array, "batch length width"],
        valid: Bool[Array, "batch length"],
        window: int,
    ) -> Float[Array, "batch maps"]:
        """Computes the largest value of each filter. The convolution is one product per place in
        the window, which a CPU computes faster than its own."""
        sides = (0, 0), (window - 1, window - 1)
        padded, there = jnp.pad(words, (*sides, (0, 0))), jnp.pad(valid, sides)
        count = words.shape[1] + window - 1
        dense = Dense(self.maps, dtype=self.dtype, name=f"window{window}")
        shifted = [padded[:, start : start + count] for start in range(window)]
        x = nn.relu(dense(jnp.concatenate(shifted, axis=-1)))
        has_word = jnp.any(
            jnp.stack([there[:, start : start + count] for start in range(window)]), axis=0
        )
        # ReLU gives no number below zero, so zero is never the maximum by mistake.
        return jnp.max(jnp.where(has_word[..., None], x, 0), axis=1)

    def features(self, text: TextInput) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(text, head=False)
