"""T5 as published: 1.0 (Raffel et al. 2020, Exploring the Limits of Transfer Learning with a
Unified Text-to-Text Transformer) and, with gated MLPs and a head of its own, 1.1 (Shazeer 2020).

The names of their published weights are in `t5_names`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, DTypeLike, Float, Int, Key

from jaxmodels import across
from jaxmodels.decoding import Step
from jaxmodels.errors import require_known
from jaxmodels.models.encoder_decoder import Memory
from jaxmodels.models.gpt_block import RMSNorm
from jaxmodels.models.layers import Rate
from jaxmodels.models.layers.attention import AnyCache, Cache
from jaxmodels.models.layers.beam_attention import Remembered
from jaxmodels.models.layers.relative import relative_bias
from jaxmodels.models.layers.stack import BlockInputs, is_scanned, run_blocks
from jaxmodels.models.options import require_at_least
from jaxmodels.models.t5_block import EPSILON, T5Block
from jaxmodels.ops import example_seeds
from jaxmodels.protocol import PyTree


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
        remat: str = "none",
        scan_layers: str = "auto",
    ) -> "T5":
        """Creates the model; the keywords are those of `TextToTextModels`. Lengths do not matter:
        relative positions have no end."""
        self.validate()
        how: dict[str, Any] = {"remat": remat, "scan_layers": scan_layers, **self.sizes()}
        return T5(max(vocabulary, self.rows), dtype=dtype, **how)

    def sizes(self) -> dict[str, Any]:
        """Returns all that makes the network but its vocabulary."""
        own = {name: getattr(self, name) for name in VARIANTS[self.variant]}
        given = {name: value for name, value in own.items() if value or value is False}
        positions = {"position_buckets": self.position_buckets, "farthest": self.farthest}
        return VARIANTS[self.variant] | given | positions


class T5(nn.Module):
    """The model of `T5Config`, with the methods of `EncoderDecoder`. Parameters are float32,
    activations are `dtype`, logits are float32. Tokens that are no padding stand first in their
    rows; padding may be any number.
    """

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
    remat: str = "none"
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
        self.encoder_params = self._blocks("encoder", self.layers)
        self.decoder_params = self._blocks("decoder", self.decoder_layers)
        self.encoder_norm = RMSNorm(True, self.dtype, EPSILON)
        self.decoder_norm = RMSNorm(True, self.dtype, EPSILON)
        if not self.tied:
            init, shape = nn.initializers.normal(small), (self.width, self.vocabulary)
            self.head = self.param("head", lambda key: {"kernel": init(key, shape)})

    def __call__(
        self,
        source: Int[Array, "batch source"],
        target: Int[Array, "batch target"],
        *,
        valid: Bool[Array, "batch source"] | None = None,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> Float[Array, "batch target vocabulary"]:
        """Computes the logits of the token after each of the target; valid: as in `encode`."""
        options = {"valid": valid, "train": train, "dropout_rate": dropout_rate}
        return self.logits(*self.hidden_and_head(source, target, **options))

    def hidden_and_head(
        self,
        source: Int[Array, "batch source"],
        target: Int[Array, "batch target"],
        *,
        valid: Bool[Array, "batch source"] | None = None,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> tuple[Float[Array, "batch target width"], Float[Array, "width vocabulary"]]:
        """Computes the input of the head, and gives its kernel, for `ops.head_cross_entropy`."""
        inputs = BlockInputs()
        if train and dropout_rate is not None:
            seeds = example_seeds(self.make_rng("dropout"), across.positions(len(source)))
            inputs = inputs._replace(seeds=seeds, rate=dropout_rate)
        memory = self._encoded(source, valid, inputs)
        x, inputs = self._begun("decoder", target, inputs)
        inputs = inputs._replace(memory=memory, memory_valid=valid)
        return self._finished(
            "decoder", self._run("decoder", x, inputs), inputs
        ), self.head_kernel()

    def encode(
        self,
        source: Int[Array, "batch source"],
        valid: Bool[Array, "batch source"] | None = None,
    ) -> Memory:
        """Makes the memory of sources, without dropout.

        valid: the tokens that are there, the others are padding behind them; None: all are there.
        """
        encoded, block = self._encoded(source, valid, BlockInputs()), self._block("decoder")
        made: Any = [
            block.apply({"params": params}, encoded, method="keys_and_values")
            for params in self.decoder_params
        ]
        cross = [Remembered.of(one.key, one.value) for one in made]
        return Memory(cross, jnp.ones(source.shape, bool) if valid is None else valid)

    def empty_cache(self, rows: int, length: int) -> list[Cache]:
        """Makes the cache of `decode` for targets of up to `length` tokens."""
        return [
            Cache.empty(rows, length, self.heads, self.head_size, self.dtype)
            for _ in range(self.decoder_layers)
        ]

    def decode(
        self,
        tokens: Int[Array, "rows new"],
        cache: list[AnyCache],
        start: Int[Array, " rows"],
        at: Int[Array, " rows"],
        memory: Memory,
    ) -> tuple[Float[Array, "rows 1 vocabulary"], list[AnyCache]]:
        """Computes the logits of the token after new token number `at`, and the cache with all new
        ones, the first of which stands at `start` (see `decoding.Step`).

        memory: of sources whose number divides the rows; as many rows side by side read each.
        """
        places = start[:, None] + jnp.arange(tokens.shape[1])
        x, inputs = self._begun("decoder", tokens, BlockInputs(), places, cache[0].length)
        inputs = inputs._replace(start=start, memory_valid=memory.valid)
        step, after = _traced_once(self._block("decoder")), []
        for params, of_block, cross in zip(self.decoder_params, cache, memory.cross):
            x, updated = step(params, x, inputs._replace(cache=of_block, cross=cross))
            after.append(updated)
        x = jnp.take_along_axis(x, at[:, None, None], axis=1)
        return self.logits(self._finished("decoder", x, inputs), self.head_kernel()), after

    def step_of(self, params: PyTree, memory: Memory) -> Step:
        """Makes the step with a cache that writes targets of a memory."""
        decode = partial(self.apply, {"params": params}, memory=memory, method="decode")
        return Step(decode, self.empty_cache)

    def logits(
        self, hidden: Float[Array, "batch length width"], kernel: Float[Array, "width vocabulary"]
    ) -> Float[Array, "batch length vocabulary"]:
        """Computes float32 logits from what `hidden_and_head` gives."""
        wide = jnp.promote_types(hidden.dtype, jnp.float32)
        kernel = kernel.astype(hidden.dtype)
        return jnp.einsum("blw,wv->blv", hidden, kernel, preferred_element_type=wide)

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

    def _run(self, side: str, x, inputs: BlockInputs):
        params = self.encoder_params if side == "encoder" else self.decoder_params
        # The decoder's blocks have other numbers than the encoder's, for dropout.
        first = 0 if side == "encoder" else self.layers
        own = [{"layer": jnp.int32(first + index)} for index in range(len(params))]
        how: dict[str, Any] = {"scan": is_scanned(self.scan_layers), "remat": self.remat}
        return run_blocks([self._block(side)] * len(params), params, own, x, inputs, **how)[0]

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

    def _block(self, side: str) -> T5Block:
        names = ("width", "heads", "head_size", "hidden", "gated", "dtype")
        options = {name: getattr(self, name) for name in names}
        return T5Block(**options, decodes=side == "decoder", parent=None)

    def _blocks(self, side: str, count: int) -> list[PyTree]:
        def draw(key: Key[Array, ""]) -> PyTree:
            example = jnp.zeros((1, 1, self.width), self.dtype)
            return self._block(side).init(key, example, BlockInputs(memory=example))["params"]

        return [self.param(f"{side}_block_{index}", draw) for index in range(count)]


@lru_cache(maxsize=64)
def _traced_once(block: Any) -> Callable:
    """Makes the pass of a block, which JAX traces once for all equal blocks and all programs."""
    return jax.jit(lambda params, x, inputs: block.apply({"params": params}, x, inputs))
