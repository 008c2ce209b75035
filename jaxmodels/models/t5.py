"""T5 as published: 1.0 (Raffel et al. 2020, Exploring the Limits of Transfer Learning with a
Unified Text-to-Text Transformer) and, with gated MLPs and a head of its own, 1.1 (Shazeer 2020).

The names of their published weights are in `t5_names`.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import require_known
from jaxmodels.models.gpt_block import RMSNorm
from jaxmodels.models.layers.relative import relative_bias
from jaxmodels.models.layers.stack import BlockInputs
from jaxmodels.models.options import require_at_least
from jaxmodels.models.t5_block import EPSILON, T5Block
from jaxmodels.models.text_to_text import TextToText


def _variant(layers: int, width: int, heads: int, hidden: int, newer: bool = False) -> dict:
    sizes = {"layers": layers, "decoder_layers": layers, "width": width, "heads": heads}
    return {**sizes, "head_size": 64, "hidden": hidden, "gated": newer, "tied": not newer}


VARIANTS = {
    "tiny": {**_variant(2, 128, 4, 512), "head_size": 32},
    "small": _variant(6, 512, 8, 2048),
    "base": _variant(12, 768, 12, 3072),
    "large": _variant(24, 1024, 16, 4096),
    "small-1.1": _variant(8, 512, 6, 1024, newer=True),
    "base-1.1": _variant(12, 768, 12, 2048, newer=True),
    "large-1.1": _variant(24, 1024, 16, 2816, newer=True),
    "xl-1.1": _variant(24, 2048, 32, 5120, newer=True),
}
_LEAST_SIZES = ("layers", "decoder_layers", "width", "heads", "head_size", "hidden")


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """Options of T5."""

    variant: str = "tiny"
    """Sizes as published: small, base, large of version 1.0 (Raffel et al. 2020, section 3.6);
    small-1.1, base-1.1, large-1.1, xl-1.1, whose sizes Flan-T5 and mT5 have as well; or tiny."""
    layers: int = 0
    """Blocks of the encoder; 0: the variant's own."""
    decoder_layers: int = 0
    """Blocks of the decoder; 0: the variant's own."""
    width: int = 0
    """Width of the streams; 0: the variant's own."""
    heads: int = 0
    """Heads of each attention; 0: the variant's own."""
    head_size: int = 0
    """Numbers of a head, which need not be width / heads; 0: the variant's own."""
    hidden: int = 0
    """Width inside the MLPs; 0: the variant's own."""
    gated: bool | None = None
    """MLPs with a gate of GELU, as of version 1.1, instead of a ReLU; None: the variant's own."""
    tied: bool | None = None
    """The head is the transposed table of embeddings, and its input is divided by sqrt(width), as
    of version 1.0; None: the variant's own."""
    position_buckets: int = 32
    """Relative distances that are told apart."""
    farthest: int = 128
    """Relative distance from which on all are one."""
    rows: int = 0
    """Rows of the table of embeddings, where published ones have more than there are tokens (32,128
    of 32,100); 0: as many as tokens."""

    def validate(self) -> None:
        """Raises InputError for an unknown variant or a size that there cannot be."""
        require_known("variant", self.variant, VARIANTS)
        require_at_least(0, self, *_LEAST_SIZES, "rows")
        require_at_least(4, self, "position_buckets")
        require_at_least(self.position_buckets, self, "farthest")

    def create(
        self,
        vocabulary: int,
        lengths: tuple[int, int] = (0, 0),
        dtype: DTypeLike = jnp.float32,
        *,
        scan_layers: str = "auto",
    ) -> "T5":
        """Creates the model; the keywords are those of `TextToTextModels`. Lengths do not matter:
        relative positions have no end."""
        self.validate()
        how: dict[str, Any] = {"scan_layers": scan_layers, **self.sizes()}
        return T5(max(vocabulary, self.rows), dtype=dtype, **how)

    def sizes(self) -> dict[str, Any]:
        """Returns all that makes the network but its vocabulary."""
        own = {name: getattr(self, name) for name in VARIANTS[self.variant]}
        given = {name: value for name, value in own.items() if value or value is False}
        positions = {"position_buckets": self.position_buckets, "farthest": self.farthest}
        return VARIANTS[self.variant] | given | positions


class T5(TextToText):
    """The model of `T5Config`. Parameters are float32, activations are `dtype`."""

    vocabulary: int
    layers: int = 2
    decoder_layers: int = 2
    width: int = 128
    heads: int = 4
    head_size: int = 32
    hidden: int = 512
    gated: bool = False
    tied: bool = True
    position_buckets: int = 32
    farthest: int = 128
    dtype: DTypeLike = jnp.float32
    scan_layers: str = "auto"

    def setup(self):
        def table(name, rows, columns, deviation):
            init = nn.initializers.normal(deviation)
            made = self.param(name, lambda key: {"embedding": init(key, (rows, columns))})
            return made["embedding"]

        small = self.width**-0.5
        self.table = table("embedding", self.vocabulary, self.width, 1.0)
        self.bias_tables = {
            side: table(f"{side}_relative", self.position_buckets, self.heads, small)
            for side in ("encoder", "decoder")
        }
        self.encoder_params = self._blocks("encoder", self.layers, self.width)
        self.decoder_params = self._blocks("decoder", self.decoder_layers, self.width)
        self.encoder_norm = RMSNorm(True, self.dtype, EPSILON)
        self.decoder_norm = RMSNorm(True, self.dtype, EPSILON)
        if not self.tied:
            init, shape = nn.initializers.normal(small), (self.width, self.vocabulary)
            self.head = self.param("head", lambda key: {"kernel": init(key, shape)})

    @property
    def cache_sizes(self) -> tuple[int, int, int]:
        """The blocks of the decoder, the heads of each, and the numbers of a head."""
        return self.decoder_layers, self.heads, self.head_size

    def head_kernel(self) -> Float[Array, "width vocabulary"]:
        """Gives the kernel of the head."""
        return self.table.T if self.tied else self.head["kernel"]

    def _encoded(self, source, valid, inputs: BlockInputs) -> Float[Array, "batch source width"]:
        x, inputs = self._begun("encoder", source, inputs)
        x = self._run("encoder", x, inputs._replace(valid=valid))
        return self._finished("encoder", x, inputs)

    def _begun(self, side: str, tokens, inputs: BlockInputs, places=None, keys: int = 0):
        """Embeds tokens, and adds the bias of their places among so many keys."""
        # Padding may be any number.
        x = jnp.take(self.table, jnp.clip(tokens, 0, self.vocabulary - 1), axis=0)
        x = self._dropped(side, x.astype(self.dtype), inputs, 0)
        rows: Any = jnp.atleast_2d(jnp.arange(tokens.shape[1]) if places is None else places)
        how: dict[str, Any] = {"most": self.farthest, "both_sides": side == "encoder"}
        seen = jnp.arange(keys or tokens.shape[1])
        bias = relative_bias(self.bias_tables[side], rows, seen, **how)
        return x, inputs._replace(bias=bias)

    def _decoder_inputs(self, tokens, inputs: BlockInputs, places=None, keys: int = 0):
        return self._begun("decoder", tokens, inputs, places, keys)

    def _decoder_output(self, x, inputs: BlockInputs):
        return self._finished("decoder", x, inputs)

    def _finished(self, side: str, x, inputs: BlockInputs):
        norm = self.encoder_norm if side == "encoder" else self.decoder_norm
        x = self._dropped(side, norm(x), inputs, 1)
        if side == "decoder" and self.tied:
            x = x * jnp.asarray(self.width**-0.5, x.dtype)
        return x

    def _dropped(self, side: str, x, inputs: BlockInputs, use: int):
        """Drops numbers of what goes into the blocks and of what comes out of them."""
        outside = self.layers + self.decoder_layers
        return inputs._replace(layer=outside).dropped(x, 2 * (side == "decoder") + use)

    def _block(self, side: str, trained: int = 0, drops: bool = False) -> T5Block:
        names = ("width", "heads", "head_size", "hidden", "gated", "dtype")
        options = {name: getattr(self, name) for name in names}
        return T5Block(**options, decodes=side == "decoder", parent=None)
