"""The transformer of an encoder and a decoder (Vaswani et al. 2017), in the forms in which it is
trained today."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.encoder_decoder_block import ACTIVATIONS, DecoderBlock, EncoderBlock
from jaxmodels.models.layers import LayerNorm
from jaxmodels.models.layers.attention import attention_kind, current_backend
from jaxmodels.models.layers.relative import relative_bias
from jaxmodels.models.layers.stack import BlockInputs
from jaxmodels.models.options import require_at_least
from jaxmodels.models.text_to_text import TextToText

POSITIONS = ("sinusoidal", "learned", "relative")
TIES = ("all", "decoder", "none")
_LONGEST_WAVE = 10_000.0


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """Options of the transformer of an encoder and a decoder."""

    width: int = 128
    """Width of the streams."""
    heads: int = 4
    """Heads of each attention."""
    encoder_layers: int = 2
    """Blocks of the encoder."""
    decoder_layers: int = 2
    """Blocks of the decoder."""
    hidden: int = 0
    """Width inside the MLPs; 0: 4 * width."""
    activation: str = "relu"
    """relu (Vaswani et al. 2017), gelu or silu (Hendrycks & Gimpel 2016)."""
    norm: str = "first"
    """Where a block normalises: first (Xiong et al. 2020), which trains with little warm-up, or
    last (Vaswani et al. 2017)."""
    positions: str = "sinusoidal"
    """sinusoidal (Vaswani et al. 2017), learned (Gehring et al. 2017), or relative (Raffel et al.
    2020): a bias of the scores, which has no longest text."""
    position_buckets: int = 32
    """Relative distances that are told apart."""
    farthest: int = 128
    """Relative distance from which on all are one."""
    tied: str = "all"
    """all: one table embeds source and target and is the head, transposed (Press & Wolf 2017);
    decoder: the source has a table of its own; none: the head has a kernel of its own too."""
    attention_dropout: bool = False
    """Drop weights of attention too."""

    def validate(self) -> None:
        """Raises InputError for an unknown name or sizes that do not go together."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_known("norm", self.norm, ("first", "last"))
        require_known("positions", self.positions, POSITIONS)
        require_known("tied", self.tied, TIES)
        require_at_least(1, self, "width", "heads", "encoder_layers", "decoder_layers", "farthest")
        require_at_least(0, self, "hidden")
        require_at_least(4, self, "position_buckets")
        if self.width % self.heads or self.width % 2:
            raise InputError(
                f"width = {self.width}; expected an even multiple of heads = {self.heads}"
            )

    def create(
        self,
        vocabulary: int,
        lengths: tuple[int, int],
        dtype: DTypeLike = jnp.float32,
        *,
        scan_layers: str = "auto",
    ) -> "EncoderDecoder":
        """Creates the model. lengths: the most tokens of a source and of a target, for learned
        positions; the keywords are those of `TextToTextModels`."""
        self.validate()
        own: dict[str, Any] = asdict(self)
        own["normalises_first"] = own.pop("norm") == "first"
        own["hidden"] = self.hidden or 4 * self.width
        how: dict[str, Any] = {"scan_layers": scan_layers}
        return EncoderDecoder(vocabulary, lengths, dtype=dtype, **own, **how)


class EncoderDecoder(TextToText):
    """The model of `EncoderDecoderConfig`. Parameters are float32, activations are `dtype`.

    Embeddings are multiplied by sqrt(width). A stream that is normalised first is normalised once
    more at its end.
    """

    vocabulary: int
    lengths: tuple[int, int]
    width: int = 128
    heads: int = 4
    encoder_layers: int = 2
    decoder_layers: int = 2
    hidden: int = 512
    activation: str = "relu"
    normalises_first: bool = True
    positions: str = "sinusoidal"
    position_buckets: int = 32
    farthest: int = 128
    tied: str = "all"
    attention_dropout: bool = False
    dtype: DTypeLike = jnp.float32
    scan_layers: str = "auto"

    def setup(self):
        shared = self.tied == "all"
        self.target_table = self._table("embedding" if shared else "target_embedding")
        self.source_table = self.target_table if shared else self._table("source_embedding")
        if self.positions == "learned":
            self.position_tables = [
                self._table(f"{side}_positions", length)
                for side, length in zip(("source", "target"), self.lengths)
            ]
        elif self.positions == "relative":
            init, shape = nn.initializers.normal(0.02), (self.position_buckets, self.heads)
            self.bias_tables = [
                self.param(f"{side}_relative", lambda key: {"embedding": init(key, shape)})
                for side in ("encoder", "decoder")
            ]
        self.encoder_params = self._blocks("encoder", self.encoder_layers, self.width)
        self.decoder_params = self._blocks("decoder", self.decoder_layers, self.width)
        if self.normalises_first:
            self.encoder_norm = LayerNorm(dtype=self.dtype)
            self.decoder_norm = LayerNorm(dtype=self.dtype)
        if self.tied == "none":
            init = nn.initializers.normal(self.width**-0.5)
            shape = self.width, self.vocabulary
            self.head = self.param("head", lambda key: {"kernel": init(key, shape)})

    @property
    def cache_sizes(self) -> tuple[int, int, int]:
        """The blocks of the decoder, the heads of each, and the numbers of a head."""
        return self.decoder_layers, self.heads, self.width // self.heads

    def cross_weights(
        self,
        source: Int[Array, "batch source"],
        target: Int[Array, "batch target"],
        valid: Bool[Array, "batch source"] | None = None,
    ) -> Float[Array, "batch layers heads target source"]:
        """Computes how each place of the target attends to the source, in each block."""
        memory = self._encoded(source, valid, BlockInputs())
        x, inputs = self._decoder_inputs(target, BlockInputs())
        inputs = inputs._replace(memory=memory, memory_valid=valid)
        block, weights = self._block("decoder"), []
        for params in self.decoder_params:
            weights.append(block.apply({"params": params}, x, inputs, method="cross_weights"))
            x, _ = block.apply({"params": params}, x, inputs)
        return jnp.stack(weights, axis=1)

    def head_kernel(self) -> Float[Array, "width vocabulary"]:
        """Gives the kernel of the head."""
        return self.head["kernel"] if self.tied == "none" else self.target_table.T

    def attention_kind(self, length: int, dropout: bool = False) -> str:
        """Names the implementation of the decoder's self-attention over `length` tokens.

        dropout: weights of attention are dropped.
        """
        how = {"length": length, "head_size": self.width // self.heads}
        devices = jax.device_count()
        return attention_kind(
            current_backend(), self.dtype, devices=devices, dropout=dropout, **how
        )

    def _encoded(self, source, valid, inputs: BlockInputs) -> Float[Array, "batch source width"]:
        places = jnp.arange(source.shape[1])
        x = self._embedded(self.source_table, source, 0, places)
        if self.positions == "relative":
            inputs = inputs._replace(bias=self._bias(0, places[None], source.shape[1]))
        last = self.encoder_layers + self.decoder_layers
        x = inputs._replace(layer=last).dropped(x, 0)
        x = self._run("encoder", x, inputs._replace(valid=valid))
        return self._finished(x, "encoder_norm")

    def _decoder_inputs(self, tokens, inputs: BlockInputs, places=None, keys: int = 0):
        places = jnp.arange(tokens.shape[1]) if places is None else places
        x = self._embedded(self.target_table, tokens, 1, places)
        if self.positions == "relative":
            bias = self._bias(1, jnp.atleast_2d(places), keys or tokens.shape[1])
            inputs = inputs._replace(bias=bias)
        last = self.encoder_layers + self.decoder_layers
        return inputs._replace(layer=last).dropped(x, 1), inputs

    def _decoder_output(self, x, inputs: BlockInputs):
        return self._finished(x, "decoder_norm")

    def _embedded(self, table, tokens, side: int, places):
        # Padding may be any number.
        tokens = jnp.clip(tokens, 0, self.vocabulary - 1)
        x = jnp.take(table, tokens, axis=0).astype(self.dtype)
        if self.positions == "relative":
            return x * jnp.asarray(self.width**0.5, self.dtype)
        if self.positions == "learned":
            if places.shape[-1] > self.lengths[side]:
                raise InputError(
                    f"{places.shape[-1]} tokens; expected at most {self.lengths[side]}, of which"
                    " learned positions know"
                )
            added = jnp.take(self.position_tables[side], places, axis=0, mode="clip")
            added = added * self.width**0.5
        else:
            added = sinusoids(places, self.width)
        return x * jnp.asarray(self.width**0.5, self.dtype) + added.astype(self.dtype)

    def _bias(self, side: int, queries, keys: int):
        table = self.bias_tables[side]["embedding"]
        how = {"most": self.farthest, "both_sides": side == 0}
        return relative_bias(table, queries, jnp.arange(keys), **how)

    def _finished(self, x, norm: str):
        return getattr(self, norm)(x) if self.normalises_first else x

    def _block_options(self) -> dict[str, Any]:
        names = ("width", "heads", "hidden", "activation", "normalises_first")
        names = (*names, "attention_dropout", "dtype")
        return {name: getattr(self, name) for name in names}

    def _block(self, side: str, trained: int = 0, drops: bool = False) -> nn.Module:
        if side == "encoder":
            return EncoderBlock(**self._block_options(), parent=None)
        drops = drops and self.attention_dropout
        kind = self.attention_kind(trained, drops) if trained else "einsum"
        return DecoderBlock(**self._block_options(), kind=kind, parent=None)

    def _table(self, name: str, rows: int = 0) -> Float[Array, "rows width"]:
        init, shape = (
            nn.initializers.normal(self.width**-0.5),
            (rows or self.vocabulary, self.width),
        )
        return self.param(name, lambda key: {"embedding": init(key, shape)})["embedding"]


def sinusoids(places: Int[Array, "*rows length"], width: int) -> Float[Array, "*rows length width"]:
    """Computes sinusoidal positions (Vaswani et al. 2017, section 3.5): the sines of all
    wavelengths, then the cosines."""
    frequencies = _LONGEST_WAVE ** (-jnp.arange(width // 2) / (width // 2))
    angles = places[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
