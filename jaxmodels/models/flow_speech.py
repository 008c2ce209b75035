"""A network that makes spectrograms of texts by flow matching, in several voices."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.models.layers import Conv, Dense, LayerNorm
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.options import require_at_least
from jaxmodels.roles import Role

_PERIODS = 16  # of the waves that tell a place or a time
_FRAMES = 40.0  # of a word, before anything is learned
_KERNEL = 7  # frames that a convolution sees


class Spoken(NamedTuple):
    """What is to be said.

    tokens: numbers of characters, from 1 on; 0 fills up.
    """

    tokens: Int[Array, "batch characters"]
    speaker: Int[Array, " batch"]


@dataclass(frozen=True, kw_only=True)
class FlowSpeechConfig:
    """Options of the network."""

    model: Annotated[Literal["flow"], Role.HOW] = "flow"
    """Architecture: flow, blocks over frames that move noise to spectrograms."""
    width: int = 128
    """Channels of the residual stream."""
    depth: int = 6
    """Blocks, each of which sees seven frames of the one before."""

    def validate(self) -> None:
        """Raises InputError for a size below 1."""
        require_at_least(1, self, "width", "depth")

    def create(
        self, characters: int, speakers: int, bands: int, dtype: DTypeLike = jnp.float32
    ) -> "FlowSpeech":
        """Creates the network."""
        self.validate()
        return FlowSpeech(characters, speakers, bands, self.width, self.depth, dtype)


class FlowSpeech(nn.Module):
    """A flow from noise to spectrograms (Lipman et al. 2023), and the durations of texts.

    The characters of a text are spread evenly over its frames, and the blocks learn to correct that
    alignment; E2 TTS (Eskimez et al. 2024) leaves the alignment to its blocks as well. This is
    enough for words and short phrases. Blocks are ConvNeXt's (Liu et al. 2022); time, voice and the
    mean of the characters scale and shift their norms, as in Peebles & Xie 2023.
    """

    characters: int
    speakers: int
    bands: int
    width: int = 128
    depth: int = 6
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.embedding = nn.Embed(self.characters + 1, self.width, dtype=self.dtype)
        self.voice = nn.Embed(self.speakers, self.width, dtype=self.dtype)
        self.time = Dense(self.width, dtype=self.dtype)
        self.whole = Dense(self.width, dtype=self.dtype)
        self.entry = Dense(self.width, dtype=self.dtype)
        self.blocks = [Block(self.dtype) for _ in range(self.depth)]
        self.norm = LayerNorm(dtype=self.dtype)
        zeros = nn.initializers.zeros
        self.exit = Dense(self.bands, dtype=self.dtype, kernel_init=zeros)
        self.duration_hidden = Dense(self.width, dtype=self.dtype)
        typical = nn.initializers.constant(jnp.log(_FRAMES))
        self.duration_exit = Dense(1, dtype=self.dtype, bias_init=typical)

    def __call__(
        self,
        noisy: Float[Array, "batch frames bands"],
        time: Float[Array, " batch"],
        spoken: Spoken,
        count: Int[Array, " batch"],
    ) -> tuple[Float[Array, "batch frames bands"], Float[Array, " batch"]]:
        """Gives the velocity of the flow at a time in 0..1, and the logarithms of the numbers of
        frames; count: the frames that each text has."""
        return self.velocity(noisy, time, spoken, count), self.duration(spoken)

    def velocity(
        self,
        noisy: Float[Array, "batch frames bands"],
        time: Float[Array, " batch"],
        spoken: Spoken,
        count: Int[Array, " batch"],
    ) -> Float[Array, "batch frames bands"]:
        """Gives the velocity of the flow; it is 0 behind the frames of a text."""
        at, inside = self._places(noisy.shape[1], count)
        letters = jnp.sum(spoken.tokens > 0, axis=1)[:, None]
        letter = jnp.clip((at * letters).astype(jnp.int32), 0, jnp.maximum(letters - 1, 0))
        said = jnp.take_along_axis(self.embedding(spoken.tokens), letter[..., None], axis=1)
        parts = [noisy.astype(self.dtype), said, waves(at), waves(at * letters)]
        x = self.entry(jnp.concatenate(parts, axis=-1))
        condition = self.time(waves(time)) + self.voice(spoken.speaker)
        condition = nn.silu(condition + self.whole(self._mean(spoken)))
        for block in self.blocks:
            x = again(block, x * inside, condition)
        return (self.exit(self.norm(x)) * inside).astype(jnp.float32)

    def duration(self, spoken: Spoken) -> Float[Array, " batch"]:
        """Gives the logarithm of the number of frames of a text."""
        letters = jnp.sum(spoken.tokens > 0, axis=1, keepdims=True)
        parts = [self._mean(spoken), self.voice(spoken.speaker), jnp.log1p(letters)]
        hidden = nn.silu(self.duration_hidden(jnp.concatenate(parts, axis=-1)))
        return self.duration_exit(hidden)[:, 0].astype(jnp.float32)

    def _mean(self, spoken: Spoken) -> Float[Array, "batch width"]:
        """Gives the mean of a text's characters, which tells a frame what lies far from it."""
        is_letter = (spoken.tokens > 0)[..., None]
        total = jnp.sum(self.embedding(spoken.tokens) * is_letter, axis=1)
        return total / jnp.maximum(jnp.sum(is_letter, axis=1), 1)

    @staticmethod
    def _places(
        frames: int, count: Int[Array, " batch"]
    ) -> tuple[Float[Array, "batch frames"], Float[Array, "batch frames 1"]]:
        """Gives the place of each frame in its sound, 0..1, and 1 for those in it."""
        places = jnp.arange(frames)[None]
        inside = places < count[:, None]
        at = jnp.clip((places + 0.5) / count[:, None], 0, 1)
        return at, inside[..., None].astype(jnp.float32)


class Block(nn.Module):
    """x + MLP(scaled norm(convolution along frames))."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames width"], condition: Float[Array, "batch width"]
    ) -> Float[Array, "batch frames width"]:
        width = x.shape[-1]
        y = Conv(width, (_KERNEL,), feature_group_count=width, dtype=self.dtype)(x)
        zeros = nn.initializers.zeros
        both = Dense(2 * width, dtype=self.dtype, kernel_init=zeros, name="condition")(condition)
        scale, shift = jnp.split(both[:, None], 2, axis=-1)
        y = LayerNorm(dtype=self.dtype)(y) * (1 + scale) + shift
        y = nn.gelu(Dense(3 * width, dtype=self.dtype, name="linear1")(y))
        return x + Dense(width, dtype=self.dtype, name="linear2")(y)


def waves(places: Float[Array, "*batch"]) -> Float[Array, "*batch waves"]:
    """Gives sines and cosines of numbers, of periods from 4 down to 4 / 2^7.5."""
    frequencies = 2 ** (jnp.arange(_PERIODS) / 2) * (jnp.pi / 2)
    angles = places[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
