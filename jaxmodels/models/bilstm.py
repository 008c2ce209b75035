"""Long short-term memory over words in both directions (Hochreiter & Schmidhuber 1997; Graves &
Schmidhuber 2005)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, DTypeLike, Float

from jaxmodels.errors import require_known
from jaxmodels.models.layers import Dense, Dropout, Rate
from jaxmodels.models.options import require_at_least
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.models.word_embedding import WordEmbedding

POOLS = ("max", "last")
EACH = "each"  # no pool: the head is on each state


@dataclass(frozen=True, kw_only=True)
class BiLSTMConfig:
    """Options of the LSTM in both directions."""

    width: int = 200
    """Numbers of a word's vector."""
    hidden: int = 128
    """Numbers of the state of each direction."""
    layers: int = 1
    """LSTMs one above another."""
    pool: str = "max"
    """Input of the head: the maximum over all states (Conneau et al. 2017, section 3.2.3), or the
    last state of each direction."""

    def validate(self) -> None:
        """Raises InputError for a number below 1 or an unknown pool."""
        require_at_least(1, self, "width", "hidden", "layers")
        require_known("pool", self.pool, POOLS)

    def create(self, classes: int, vocabulary: int, dtype: DTypeLike = jnp.float32) -> "BiLSTM":
        """Creates the classifier."""
        self.validate()
        sizes = self.width, self.hidden, self.layers, self.pool
        return BiLSTM(classes, vocabulary, *sizes, dtype)


class LSTM(nn.Module):
    """One direction of an LSTM, with torch's order of gates: input, forget, cell, output. Its state
    stays as it is at padding. The bias of the forget gate starts as 1 (Jozefowicz et al. 2015)."""

    hidden: int
    reverse: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length width"], valid: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length hidden"]:
        """Gives the state at each place; at padding that of the place before."""
        size = self.hidden
        forget = jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), size)
        inputs = Dense(4 * size, dtype=self.dtype, name="input", bias_init=lambda *_: forget)(x)
        orthogonal = nn.initializers.orthogonal()
        recurrent = self.param("recurrent", _four(orthogonal), (size, 4 * size)).astype(self.dtype)

        def step(state, given):
            cell, out = state
            at, there = given
            into, forgetting, new, shown = jnp.split(at + out @ recurrent, 4, axis=-1)
            after = nn.sigmoid(forgetting) * cell + nn.sigmoid(into) * jnp.tanh(new)
            seen = nn.sigmoid(shown) * jnp.tanh(after)
            there = there[:, None]
            state = jnp.where(there, after, cell), jnp.where(there, seen, out)
            return state, state[1]

        start = (jnp.zeros((x.shape[0], size), self.dtype),) * 2
        given = inputs.swapaxes(0, 1), valid.swapaxes(0, 1)
        _, states = jax.lax.scan(step, start, given, reverse=self.reverse)
        return states.swapaxes(0, 1)


class BiLSTM(nn.Module):
    """Word vectors, LSTMs in both directions, a pool over their states, and a head. Dropout acts on
    word vectors and before each layer above them.

    pool: one of `POOLS`, or `EACH`.
    """

    classes: int
    vocabulary: int
    width: int
    hidden: int
    layers: int
    pool: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        text: TextInput,
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch *outputs"]:
        """Gives the logits of the classes, or without the head its input."""
        embedding = WordEmbedding(self.vocabulary, self.width, dtype=self.dtype, name="words")
        x = embedding(text, train=train, dropout_rate=dropout_rate)
        valid = text.valid
        for layer in range(self.layers):
            if layer:
                x = Dropout()(x, rate=dropout_rate, train=train)
            ways = [
                LSTM(self.hidden, reverse, self.dtype, name=f"{name}_{layer}")(x, valid)
                for name, reverse in (("forward", False), ("backward", True))
            ]
            x = jnp.concatenate(ways, axis=-1)
        if self.pool != EACH:
            x = self._pooled(x, valid)
        x = Dropout()(x, rate=dropout_rate, train=train)
        if head:
            x = Dense(self.classes, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def _pooled(
        self, x: Float[Array, "batch length states"], valid: Bool[Array, "batch length"]
    ) -> Float[Array, "batch states"]:
        if self.pool == "last":
            # The state stays as it is behind the end of a text.
            return jnp.concatenate([x[:, -1, : self.hidden], x[:, 0, self.hidden :]], axis=-1)
        least = jnp.where(valid[..., None], x, -jnp.inf).max(axis=1)
        return jnp.where(jnp.isfinite(least), least, 0)

    def features(self, text: TextInput) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(text, head=False)


def _four(init):
    """Draws the four parts of a kernel, each for itself."""

    def drawn(key, shape):
        keys = jax.random.split(key, 4)
        part = shape[0], shape[1] // 4
        return jnp.concatenate([init(each, part) for each in keys], axis=1)

    return drawn
