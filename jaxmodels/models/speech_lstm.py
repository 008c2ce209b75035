"""LSTMs in both directions over spectrograms, with a label at each place (Graves et al. 2013)."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.models.bilstm import LSTM
from jaxmodels.models.layers import Dense, Dropout, LayerNorm, Rate
from jaxmodels.models.options import require_at_least
from jaxmodels.models.spectrogram_stem import Stem, there


@dataclass(frozen=True, kw_only=True)
class SpeechLSTMConfig:
    """Options of the LSTMs in both directions."""

    layers: int = 2
    """LSTMs one above another."""
    hidden: int = 96
    """Numbers of the state of each direction."""
    width: int = 96
    """Width behind the convolutions."""
    halvings: int = 2
    """Convolutions at the start that halve the number of frames each."""

    def validate(self) -> None:
        """Raises InputError for a size out of range."""
        require_at_least(1, self, "layers", "hidden", "width")
        require_at_least(0, self, "halvings")

    def create(self, labels: int, dtype: DTypeLike = jnp.float32) -> "SpeechLSTM":
        """Creates the encoder, with a head of so many labels."""
        self.validate()
        sizes = self.layers, self.hidden, self.width, self.halvings
        return SpeechLSTM(labels, *sizes, dtype)


class SpeechLSTM(nn.Module):
    """Convolutions that halve the frames, LSTMs in both directions, and a head. Dropout acts before
    each layer."""

    labels: int
    layers: int
    hidden: int
    width: int
    halvings: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "batch frames bands"],
        frames: Int[Array, " batch"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> tuple[Float[Array, "batch places labels"], Int[Array, " batch"]]:
        """Gives the logits of the labels at each place, and how many places of each row count.

        frames: how many frames of each row count; the others change nothing.
        """
        x, places = Stem(self.width, self.halvings, self.dtype, name="stem")(features, frames)
        valid = there(places, x.shape[1])
        for layer in range(self.layers):
            x = Dropout()(x, rate=dropout_rate, train=train)
            ways = [
                LSTM(self.hidden, reverse, self.dtype, name=f"{name}_{layer}")(x, valid)
                for name, reverse in (("forward", False), ("backward", True))
            ]
            x = LayerNorm(dtype=self.dtype, name=f"norm_{layer}")(jnp.concatenate(ways, axis=-1))
        x = Dropout()(x, rate=dropout_rate, train=train)
        logits = Dense(self.labels, dtype=self.dtype, name="head")(x)
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), places
