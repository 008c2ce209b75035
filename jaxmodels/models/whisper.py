"""Whisper as published (Radford et al. 2023, Robust Speech Recognition via Large-Scale Weak
Supervision): an encoder of log-mel spectrograms, and a decoder that writes the text.

The names of the published weights are in `whisper_names`, the rules of decoding in
`whisper_rules`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.decoding import Step
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.layers import Conv, LayerNorm, Rate
from jaxmodels.models.layers.attention import AnyCache, Cache
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.options import require_at_least
from jaxmodels.models.whisper_block import DecoderBlock, EncoderBlock, Sounds, drop_of
from jaxmodels.protocol import PyTree

# Radford et al. 2023, table 1; layers are those of the encoder and of the decoder.
VARIANTS = {
    "tiny": {"layers": 4, "decoder_layers": 4, "width": 384, "heads": 6},
    "base": {"layers": 6, "decoder_layers": 6, "width": 512, "heads": 8},
    "small": {"layers": 12, "decoder_layers": 12, "width": 768, "heads": 12},
    "medium": {"layers": 24, "decoder_layers": 24, "width": 1024, "heads": 16},
    "large": {"layers": 32, "decoder_layers": 32, "width": 1280, "heads": 20},
}
_DEVIATION = 0.02  # of initial kernels and embeddings, as in transformers


@dataclass(frozen=True, kw_only=True)
class WhisperConfig:
    """Options of Whisper."""

    variant: str = "tiny"
    """Size: tiny (39 million parameters), base, small, medium or large (Radford et al. 2023,
    table 1)."""
    layers: int = 0
    """Blocks of the encoder; 0: the variant's own."""
    decoder_layers: int = 0
    """Blocks of the decoder; 0: the variant's own."""
    width: int = 0
    """Width of the streams; 0: the variant's own."""
    heads: int = 0
    """Attention heads; 0: the variant's own."""
    bands: int = 80
    """Mel filters; those of large-v3 are 128."""
    sounds: int = 1500
    """Places of the encoder, each of two frames: 1,500 are 30 seconds, as published."""
    context: int = 448
    """Most tokens of the decoder."""
    token_rows: int = 0
    """Rows of the table of tokens; 0: as many as the tokenizer has."""
    heard: int = 0
    """Places of the encoder that are computed, to learn from short sounds in less time; 0: all, as
    published weights expect until they are trained on fewer."""
    suppressed: tuple[int, ...] = ()
    """Tokens that are never written: those of the published config."""
    begin_suppressed: tuple[int, ...] = ()
    """Tokens with which no text begins: those of the published config."""
    language: str = "en"
    """Language that is spoken, for models of several."""

    def validate(self) -> None:
        """Raises InputError for an unknown variant, a size out of range, or heads that do not
        divide the width."""
        require_known("variant", self.variant, VARIANTS)
        sizes = ("layers", "decoder_layers", "width", "heads", "token_rows", "heard")
        require_at_least(0, self, *sizes)
        require_at_least(1, self, "bands", "sounds", "context")
        if self.heard > self.sounds:
            raise InputError(f"heard = {self.heard}; expected at most sounds = {self.sounds}")
        width, heads = self.sizes()["width"], self.sizes()["heads"]
        if width % heads or width % 2:
            raise InputError(f"width = {width}; expected a multiple of heads = {heads}, and even")

    @property
    def places(self) -> int:
        """The places of the encoder that are computed."""
        return self.heard or self.sounds

    def sizes(self) -> dict[str, int]:
        """Returns layers, decoder_layers, width and heads."""
        own = {name: getattr(self, name) for name in VARIANTS["tiny"]}
        return VARIANTS[self.variant] | {name: size for name, size in own.items() if size}

    def create(self, vocabulary: int, dtype: DTypeLike = jnp.float32) -> "Whisper":
        """Creates the model of a tokenizer's vocabulary.

        Raises:
          InputError: fewer rows of tokens than the tokenizer has.
        """
        self.validate()
        rows = self.token_rows or vocabulary
        if rows < vocabulary:
            raise InputError(f"token_rows = {rows}; expected the tokenizer's {vocabulary}, or more")
        names = ("bands", "sounds", "context", "heard")
        sizes: dict[str, Any] = {**self.sizes(), **{name: getattr(self, name) for name in names}}
        return Whisper(vocabulary=rows, dtype=dtype, **sizes)


class Memory(NamedTuple):
    """What the decoder reads of sounds: keys and values of all of its blocks."""

    blocks: tuple[Sounds, ...]


class Whisper(nn.Module):
    """Whisper. Parameters are float32, activations are `dtype`, logits are float32.

    sounds: places of the encoder. context: most tokens of the decoder. heard: how many of the
    places are computed; 0: all.
    """

    vocabulary: int
    layers: int
    decoder_layers: int
    width: int
    heads: int
    bands: int = 80
    sounds: int = 1500
    context: int = 448
    heard: int = 0
    dtype: DTypeLike = jnp.float32

    def setup(self):
        conv = partial(Conv, self.width, (3,), padding=[(1, 1)], dtype=self.dtype)
        self.conv1, self.conv2 = conv(), conv(strides=(2,))
        self.sound_positions = self._table("sound_positions", self.sounds, _sinusoids)
        sizes = {"heads": self.heads, "deviation": _DEVIATION, "dtype": self.dtype}
        self.encoder_block = [EncoderBlock(**sizes) for _ in range(self.layers)]
        self.encoder_norm = LayerNorm(dtype=self.dtype)
        normal = nn.initializers.normal(_DEVIATION)
        self.token_embedding = self._table("token_embedding", self.vocabulary, normal)
        self.positions = self._table("positions", self.context, normal)
        self.decoder_block = [
            DecoderBlock(**sizes, width=self.width) for _ in range(self.decoder_layers)
        ]
        self.decoder_norm = LayerNorm(dtype=self.dtype)

    @property
    def frames(self) -> int:
        """The frames that a sound is filled up to, two a place."""
        return 2 * (self.heard or self.sounds)

    def __call__(
        self,
        features: Float[Array, "batch frames bands"],
        tokens: Int[Array, "batch length"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> Float[Array, "batch length vocabulary"]:
        """Computes the logits of the token after each."""
        drop = drop_of(self, len(tokens), dropout_rate if train else None)
        memory = self._memory(self.states(features, drop))
        return self._decoded(tokens, memory, jnp.arange(tokens.shape[1]), drop)

    def states(
        self, features: Float[Array, "batch frames bands"], drop=None
    ) -> Float[Array, "batch places width"]:
        """Computes the states of the encoder.

        Raises:
          InputError: another number of frames than two a place.
        """
        if features.shape[1] != self.frames:
            raise InputError(
                f"{features.shape[1]} frames; expected {self.frames}, as Whisper's positions are:"
                " fill the sound up"
            )
        x = nn.gelu(self.conv1(features.astype(self.dtype)), approximate=False)
        x = nn.gelu(self.conv2(x), approximate=False)
        # They are fixed, as published.
        positions = jax.lax.stop_gradient(self.sound_positions)[: x.shape[1]]
        x = (x + positions).astype(self.dtype)
        for number, block in enumerate(self.encoder_block):
            x = again(block, x, drop=drop and partial(drop, 3 * number))
        return self.encoder_norm(x)

    def encode(self, features: Float[Array, "batch frames bands"]) -> Memory:
        """Computes what the decoder reads of sounds."""
        return self._memory(self.states(features))

    def decode(
        self,
        tokens: Int[Array, "rows new"],
        memory: Memory,
        cache: list[AnyCache],
        start: Int[Array, " rows"],
        at: Int[Array, " rows"],
    ) -> tuple[Float[Array, "rows 1 vocabulary"], list[AnyCache]]:
        """Computes the logits of the token after new token number `at` of each row, and the cache
        with the new ones; as a `decoding.Step` does. Row r reads the sound r // (rows / sounds)."""
        places = start[:, None] + jnp.arange(tokens.shape[1])
        x = self._embedded(tokens, places)
        after = []
        for block, sounds, own in zip(self.decoder_block, memory.blocks, cache):
            x, updated = block.cached(x, sounds, own, start)
            after.append(updated)
        x = jnp.take_along_axis(x, at[:, None, None], axis=1)
        return self._logits(self.decoder_norm(x)), after

    def empty_cache(self, rows: int, length: int) -> list[AnyCache]:
        """Makes the cache of `decode` for texts of up to `length` tokens.

        Raises:
          InputError: more tokens than there are positions.
        """
        if length > self.context:
            raise InputError(f"{length} tokens; expected at most {self.context}, Whisper's context")
        size = self.width // self.heads
        empty = partial(Cache.empty, rows, length, self.heads, size, self.dtype)
        return [empty() for _ in range(self.decoder_layers)]

    def _memory(self, states: Float[Array, "batch places width"]) -> Memory:
        return Memory(tuple(block.read(states) for block in self.decoder_block))

    def _embedded(self, tokens, places):
        x = jnp.take(self.token_embedding, tokens, axis=0)
        return (x + jnp.take(self.positions, places, axis=0)).astype(self.dtype)

    def _decoded(self, tokens, memory: Memory, places, drop):
        if tokens.shape[1] > self.context:
            raise InputError(f"{tokens.shape[1]} tokens; expected at most {self.context}")
        x = self._embedded(tokens, places)
        for number, (block, sounds) in enumerate(zip(self.decoder_block, memory.blocks)):
            dropped = drop and partial(drop, 3 * (self.layers + number))
            x = again(block, x, sounds, drop=dropped)
        return self._logits(self.decoder_norm(x))

    def _logits(self, x: Float[Array, "rows length width"]) -> Float[Array, "..."]:
        kernel = self.token_embedding.astype(x.dtype)
        return jnp.einsum("blw,vw->blv", x, kernel, preferred_element_type=jnp.float32)

    def _table(self, name: str, rows: int, init) -> Float[Array, "rows width"]:
        shape = rows, self.width
        return self.param(name, lambda key: {"embedding": init(key, shape)})["embedding"]


def step_of(model: Whisper, params: PyTree, memory: Memory) -> Step:
    """Makes the model's step with a cache, over these sounds."""

    def decode(tokens, cache, start, at):
        given = tokens, memory, cache, start, at
        return model.apply({"params": params}, *given, method="decode")

    return Step(decode, partial(model.apply, {"params": params}, method="empty_cache"))


def _sinusoids(key, shape: tuple[int, int]) -> Float[Array, "rows width"]:
    """Computes the positions of the encoder: sines, then cosines (whisper/model.py)."""
    rows, width = shape
    scale = np.exp(-np.log(10_000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(rows)[:, None] * scale
    return jnp.asarray(np.concatenate([np.sin(angles), np.cos(angles)], 1), jnp.float32)
