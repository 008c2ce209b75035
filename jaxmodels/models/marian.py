"""Marian's transformer as published for translation (Junczys-Dowmunt et al. 2018; Tiedemann &
Thottingal 2020, OPUS-MT): that of Vaswani et al. 2017, with SiLU and a bias of the logits.

The names of its published weights are in `marian_names`.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.encoder_decoder import EncoderDecoder
from jaxmodels.models.encoder_decoder_block import ACTIVATIONS
from jaxmodels.models.options import require_at_least

VARIANTS = {
    "tiny": {"layers": 2, "decoder_layers": 2, "width": 128, "heads": 4, "hidden": 512},
    # Transformer-base of Vaswani et al. 2017, table 3, which OPUS-MT trains for each language pair.
    "base": {"layers": 6, "decoder_layers": 6, "width": 512, "heads": 8, "hidden": 2048},
    "big": {"layers": 6, "decoder_layers": 6, "width": 1024, "heads": 16, "hidden": 4096},
}


@dataclass(frozen=True, kw_only=True)
class MarianConfig:
    """Options of Marian's transformer."""

    variant: str = "tiny"
    """Sizes as published: base (opus-mt), big (opus-mt-tc-big), or tiny."""
    layers: int = 0
    """Blocks of the encoder; 0: the variant's own."""
    decoder_layers: int = 0
    """Blocks of the decoder; 0: the variant's own."""
    width: int = 0
    """Width of the streams; 0: the variant's own."""
    heads: int = 0
    """Heads of each attention; 0: the variant's own."""
    hidden: int = 0
    """Width inside the MLPs; 0: the variant's own."""
    activation: str = "silu"
    """silu, as most published models have it, relu or gelu."""
    context: int = 512
    """Positions that a published model says that it has; here they have no end."""

    def validate(self) -> None:
        """Raises InputError for an unknown name or sizes that do not go together."""
        require_known("variant", self.variant, VARIANTS)
        require_known("activation", self.activation, ACTIVATIONS)
        require_at_least(0, self, *VARIANTS[self.variant])
        require_at_least(1, self, "context")
        width, heads = self.sizes()["width"], self.sizes()["heads"]
        if width % heads or width % 2:
            raise InputError(f"width = {width}; expected an even multiple of heads = {heads}")

    def create(
        self,
        vocabulary: int,
        lengths: tuple[int, int] = (0, 0),
        dtype: DTypeLike = jnp.float32,
        *,
        scan_layers: str = "auto",
    ) -> "Marian":
        """Creates the model; the keywords are those of `TextToTextModels`. Lengths do not matter:
        sinusoidal positions have no end."""
        self.validate()
        sizes = self.sizes()
        how: dict[str, Any] = {"encoder_layers": sizes.pop("layers"), **sizes}
        how |= {"scan_layers": scan_layers, "activation": self.activation}
        return Marian(vocabulary, lengths, dtype=dtype, normalises_first=False, **how)

    def sizes(self) -> dict[str, int]:
        """Returns layers, decoder_layers, width, heads and hidden."""
        own = {name: getattr(self, name) for name in VARIANTS[self.variant]}
        return VARIANTS[self.variant] | {name: size for name, size in own.items() if size}


class Marian(EncoderDecoder):
    """An `EncoderDecoder` that normalises last, has one table for source, target and head, and a
    bias of each word's logit."""

    def setup(self):
        super().setup()
        zeros = jnp.zeros(self.vocabulary)
        self.word_bias = self.param("head_bias", lambda key: {"bias": zeros})["bias"]

    def hidden_and_head(
        self, source, target, **options
    ) -> tuple[Float[Array, "batch target wider"], Float[Array, "wider vocabulary"]]:
        """Computes the input of the head, and gives its kernel, for `ops.head_cross_entropy`.

        The bias is one more row of the kernel, whose input is 1.
        """
        hidden, kernel = super().hidden_and_head(source, target, **options)
        ones = jnp.ones((*hidden.shape[:2], 1), hidden.dtype)
        bias = self.word_bias[None].astype(kernel.dtype)
        return jnp.concatenate([hidden, ones], axis=-1), jnp.concatenate([kernel, bias])

    def logits(
        self, hidden: Float[Array, "batch length width"], kernel: Float[Array, "width vocabulary"]
    ) -> Float[Array, "batch length vocabulary"]:
        """Computes float32 logits from what `hidden_and_head` gives, or from the stream alone."""
        logits = super().logits(hidden, kernel)
        is_with_bias = hidden.shape[-1] > self.width
        return logits if is_with_bias else logits + self.word_bias.astype(logits.dtype)
