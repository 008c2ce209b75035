"""What models of an encoder and a decoder share: the pass that is trained, and writing with a cache
and a memory."""

from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from jaxmodels import across
from jaxmodels.decoding import Step
from jaxmodels.models.layers import Rate
from jaxmodels.models.layers.attention import AnyCache, Cache
from jaxmodels.models.layers.beam_attention import Remembered
from jaxmodels.models.layers.stack import (
    BY_WORDS,
    LATE,
    BlockInputs,
    is_scanned,
    run_blocks,
    traced_once,
)
from jaxmodels.ops import example_seeds
from jaxmodels.protocol import MODEL_AXIS, PyTree, Sharding, ShardingRule

# As Shoeybi et al. 2019, Megatron-LM, section 3, for attention to the memory too: the first kernels
# are divided by outputs, the second ones by inputs, and biases of scores by heads.
OF_BLOCKS = (
    ShardingRule(
        r"block_\d+/((cross_)?(query|key|value)|linear1|gate)/kernel$", (None, MODEL_AXIS)
    ),
    ShardingRule(r"block_\d+/((cross_)?(query|key|value)|linear1)/bias$", (MODEL_AXIS,)),
    ShardingRule(r"block_\d+/((cross_)?out|linear2)/kernel$", (MODEL_AXIS, None)),
    ShardingRule(r"(encoder|decoder)_relative/embedding$", (None, MODEL_AXIS)),
)
SHARDING = Sharding((*OF_BLOCKS, *BY_WORDS), LATE)


class Memory(NamedTuple):
    """What a decoder reads of sources: the keys and values of each of its blocks, and which places
    are no padding. Its arrays lead with the sources' batch."""

    cross: list[Remembered]
    valid: Bool[Array, "batch source"]


class TextToText(nn.Module):
    """A model whose decoder writes a target for what its encoder has read. Tokens that are no
    padding stand first in their rows; padding may be any number. Logits are float32.

    A model has the fields dtype and scan_layers, after its setup `encoder_params` and
    `decoder_params`, those of each block, and the methods and the property without a body here. Its
    blocks name their kernels as `SHARDING` does.
    """

    sharding: ClassVar[Sharding] = SHARDING

    @property
    def cache_sizes(self) -> tuple[int, int, int]:
        """The blocks of the decoder, the heads of each, and the numbers of a head."""
        raise NotImplementedError

    def head_kernel(self) -> Float[Array, "width vocabulary"]:
        """Gives the kernel of the head."""
        raise NotImplementedError

    def _encoded(self, source, valid, inputs: BlockInputs) -> Float[Array, "batch source width"]:
        """Encodes sources."""
        raise NotImplementedError

    def _decoder_inputs(self, tokens, inputs: BlockInputs, places=None, keys: int = 0):
        """Embeds the tokens of a target, and adds the bias of their places among so many keys."""
        raise NotImplementedError

    def _decoder_output(self, x, inputs: BlockInputs):
        """Makes the input of the head of what comes out of the last block."""
        raise NotImplementedError

    def _block(self, side: str, trained: int = 0, drops: bool = False) -> nn.Module:
        """Makes a block of the "encoder" or the "decoder".

        trained: the length of targets that are known, whose attention may be of another kind.
        drops: numbers are left out.
        """
        raise NotImplementedError

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
        inputs = self._dropping(source.shape[0], train, dropout_rate)
        encoded = self._encoded(source, valid, inputs)
        return self._passed(target, encoded, valid, inputs), self.head_kernel()

    def encode(
        self,
        source: Int[Array, "batch source"],
        valid: Bool[Array, "batch source"] | None = None,
    ) -> Memory:
        """Makes the memory of sources, without dropout.

        valid: the tokens that are there, the others are padding behind them; None: all are there.
        """
        return self._memory(self._encoded(source, valid, BlockInputs()), valid)

    def empty_cache(self, rows: int, length: int) -> list[Cache]:
        """Makes the cache of `decode` for targets of up to `length` tokens."""
        blocks, *sizes = self.cache_sizes
        return [Cache.empty(rows, length, *sizes, self.dtype) for _ in range(blocks)]

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
        x, after = self._decoded(tokens, cache, start, at, memory)
        return self.logits(x, self.head_kernel()), after

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

    def _dropping(self, count: int, train: bool, dropout_rate: Rate) -> BlockInputs:
        """Makes the inputs of blocks, with dropout in training."""
        if not train or dropout_rate is None:
            return BlockInputs()
        seeds = example_seeds(self.make_rng("dropout"), across.positions(count))
        return BlockInputs()._replace(seeds=seeds, rate=dropout_rate)

    def _passed(self, target, encoded, valid, inputs: BlockInputs):
        """Computes the input of the head for targets that are known."""
        x, inputs = self._decoder_inputs(target, inputs)
        inputs = inputs._replace(memory=encoded, memory_valid=valid)
        x = self._run("decoder", x, inputs, trained=target.shape[1])
        return self._decoder_output(x, inputs)

    def _memory(self, encoded, valid) -> Memory:
        """Makes the memory of what is encoded."""
        block = self._block("decoder")
        made: Any = [
            block.apply({"params": params}, encoded, method="keys_and_values")
            for params in self.decoder_params
        ]
        cross = [Remembered.of(one.key, one.value) for one in made]
        return Memory(cross, jnp.ones(encoded.shape[:2], bool) if valid is None else valid)

    def _decoded(self, tokens, cache, start, at, memory: Memory):
        """Computes the input of the head at new token number `at`, and the cache."""
        places = start[:, None] + jnp.arange(tokens.shape[1])
        x, inputs = self._decoder_inputs(tokens, BlockInputs(), places, cache[0].length)
        inputs = inputs._replace(start=start, memory_valid=memory.valid)
        step, after = traced_once(self._block("decoder"), across.current_mesh()), []
        for params, of_block, cross in zip(self.decoder_params, cache, memory.cross):
            x, updated = step(params, x, inputs._replace(cache=of_block, cross=cross))
            after.append(updated)
        x = jnp.take_along_axis(x, at[:, None, None], axis=1)
        return self._decoder_output(x, inputs), after

    def _run(self, side: str, x, inputs: BlockInputs, trained: int = 0):
        """Passes a stream through the blocks of a side."""
        is_encoder = side == "encoder"
        params = self.encoder_params if is_encoder else self.decoder_params
        # The decoder's blocks have other numbers than the encoder's, for dropout.
        first = 0 if is_encoder else len(self.encoder_params)
        own = [{"layer": jnp.int32(first + index)} for index in range(len(params))]
        how: dict[str, Any] = {"scan": is_scanned(self.scan_layers)}
        block = self._block(side, trained, inputs.seeds is not None)
        return run_blocks([block] * len(params), params, own, x, inputs, **how)[0]

    def _blocks(self, side: str, count: int, width: int) -> list[PyTree]:
        """Makes the parameters of the blocks of a side."""

        def draw(key):
            example = jnp.zeros((1, 1, width), self.dtype)
            return self._block(side).init(key, example, BlockInputs(memory=example))["params"]

        return [self.param(f"{side}_block_{index}", draw) for index in range(count)]
