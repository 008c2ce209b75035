"""An encoder and a decoder that can copy words of the source (See et al. 2017, section 2.2)."""

from dataclasses import fields
from functools import partial
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from jaxmodels.decoding import Step
from jaxmodels.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from jaxmodels.models.layers import Dense, Rate
from jaxmodels.models.layers.attention import AnyCache
from jaxmodels.models.layers.stack import LATE, BlockInputs
from jaxmodels.models.text_to_text import OF_BLOCKS, Memory
from jaxmodels.ops.copy_mixture import Mixture, log_probabilities
from jaxmodels.protocol import PyTree, Sharding

# Its mixture needs the logits of all words on each device, so that its head is whole.
SHARDING = Sharding(OF_BLOCKS, LATE)


class CopyMemory(NamedTuple):
    """What the decoder reads of sources. Its arrays lead with the sources' batch."""

    read: Memory
    encoded: Float[Array, "batch source width"]
    keys: Float[Array, "batch source width"]  # of the attention to copy by
    copied: Int[Array, "batch source"]  # the number of the word at each place


class PointerGenerator(EncoderDecoder):
    """An `EncoderDecoder` with a mixture for its head: one more attention, of the last state of the
    decoder to what is encoded, says which place of the source is copied, and a gate of the state
    and what that attention reads says whether one is.

    Numbers of words from the vocabulary's size on are words that only a source has. The decoder
    reads them as the word `unknown`.
    """

    sharding: ClassVar[Sharding] = SHARDING

    unknown: int = 1

    def setup(self):
        super().setup()
        self.pointer_query, self.pointer_key = (
            Dense(self.width, use_bias=False, dtype=self.dtype) for _ in range(2)
        )
        self.gate = Dense(1, dtype=jnp.float32)

    def __call__(
        self,
        source: Int[Array, "batch source"],
        target: Int[Array, "batch target"],
        *,
        valid: Bool[Array, "batch source"],
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> Mixture:
        """Computes the mixture of the word after each of the target.

        valid: the words of the source that are there; the others are padding behind them.
        """
        inputs = self._dropping(len(source), train, dropout_rate)
        encoded = self._encoded(source, valid, inputs)
        states = self._passed(self._known(target), encoded, valid, inputs)
        return self._mixture(states, encoded, self.pointer_key(encoded), valid)

    def encode_to_copy(
        self,
        source: Int[Array, "batch source"],
        copied: Int[Array, "batch source"],
        valid: Bool[Array, "batch source"],
    ) -> CopyMemory:
        """Makes the memory of sources, without dropout.

        copied: the numbers of the words of the source, among them those that only it has.
        """
        encoded = self._encoded(source, valid, BlockInputs())
        keys = self.pointer_key(encoded)
        return CopyMemory(self._memory(encoded, valid), encoded, keys, copied)

    def decode_words(
        self,
        tokens: Int[Array, "rows new"],
        cache: list[AnyCache],
        start: Int[Array, " rows"],
        at: Int[Array, " rows"],
        memory: CopyMemory,
    ) -> tuple[Float[Array, "rows 1 words"], list[AnyCache]]:
        """Computes the logarithms of the probabilities of the word after new token number `at`: of
        the vocabulary, then of the words at the places of the source; as `EncoderDecoder.decode`.
        """
        x, cache = self._decoded(self._known(tokens), cache, start, at, memory.read)
        batch, valid = memory.keys.shape[0], memory.read.valid
        # As many rows side by side read each source.
        states = x.reshape(batch, -1, x.shape[-1])
        mixture = self._mixture(states, memory.encoded, memory.keys, valid)
        found = log_probabilities(mixture, memory.copied, valid)
        return found.reshape(tokens.shape[0], 1, -1), cache

    def copying_step(self, params: PyTree, memory: CopyMemory) -> Step:
        """Makes the step with a cache that writes targets of a memory."""
        decode = partial(self.apply, {"params": params}, memory=memory, method="decode_words")
        return Step(decode, self.empty_cache)

    def _known(self, tokens: Int[Array, "rows length"]) -> Int[Array, "rows length"]:
        return jnp.where(tokens >= self.vocabulary, self.unknown, tokens)

    def _mixture(self, states, encoded, keys, valid) -> Mixture:
        scale = self.width**-0.5
        wide = jnp.promote_types(states.dtype, jnp.float32)
        queries = self.pointer_query(states)
        scores = scale * jnp.einsum("btw,bsw->bts", queries, keys, preferred_element_type=wide)
        weights = nn.softmax(scores, axis=-1, where=valid[:, None])
        read = jnp.einsum("bts,bsw->btw", weights.astype(encoded.dtype), encoded)
        gate = self.gate(jnp.concatenate([states, read], axis=-1))[..., 0]
        return Mixture(self.logits(states, self.head_kernel()), scores, gate)


def pointer_generator(
    config: EncoderDecoderConfig,
    vocabulary: int,
    lengths: tuple[int, int],
    dtype: DTypeLike = jnp.float32,
    *,
    scan_layers: str = "auto",
) -> PointerGenerator:
    """Creates the model of a vocabulary with the options of an encoder and a decoder."""
    plain = config.create(vocabulary, lengths, dtype, scan_layers=scan_layers)
    names = [field.name for field in fields(plain) if field.name not in ("parent", "name")]
    return PointerGenerator(**{name: getattr(plain, name) for name in names})
