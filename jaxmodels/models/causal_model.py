"""What language models have in common: passes over sequences, with and without a cache."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int, Key

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.models.layers import Rate
from jaxmodels.models.layers.attention import AnyCache, Cache, attention_kind, current_backend
from jaxmodels.models.layers.stack import BlockInputs, is_scanned, run_blocks, traced_once
from jaxmodels.ops import example_seeds, soft_cap
from jaxmodels.ops.portable import traced_devices
from jaxmodels.protocol import PyTree


class CausalModel(nn.Module):
    """The base of models of the next token, and without `causal` of masked tokens.

    A model adds its sizes as fields, among them `layers` and `width`, makes its parameters in
    `setup`, and has the methods `block`, `begin`, `finish` and `head_kernel`. Parameters are
    float32, activations are `dtype`, logits are float32. If the collection "intermediates" is
    mutable, a pass leaves "activation_norm" in it: the root mean square of the stream after each
    block.

    causal: a token sees itself and those before; otherwise all, and there is no cache.
    scan_layers: as in `run_blocks`; attention: a kind of `layers.attention`, or auto.
    logit_cap: of `soft_cap`; 0: none.
    output_scale: multiplies the input of the head, as muP does for a width.
    tied: the head's kernel is the transposed table of embeddings.
    """

    vocabulary: int
    context: int
    dtype: DTypeLike = jnp.float32
    scan_layers: str = "auto"
    attention: str = "auto"
    logit_cap: float = 0.0
    output_scale: float = 1.0
    tied: bool = False
    attention_dropout: bool = False
    causal: bool = True

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        *,
        documents: Int[Array, "batch length"] | None = None,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> Float[Array, "batch length vocabulary"]:
        """Computes the logits of the token after each, or without `causal` of the token itself.

        documents: the number of each token's document, whose tokens stand side by side; attention
          stays inside it.
        """
        options = {"documents": documents, "train": train, "dropout_rate": dropout_rate}
        return self.logits(*self.hidden_and_head(tokens, **options))

    def hidden_and_head(
        self,
        tokens: Int[Array, "batch length"],
        *,
        documents: Int[Array, "batch length"] | None = None,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> tuple[Float[Array, "batch length width"], Float[Array, "width vocabulary"]]:
        """Computes the input of the head, and gives its kernel, for `ops.head_cross_entropy`."""
        inputs = BlockInputs(documents=documents)
        if train and dropout_rate is not None:
            seeds = example_seeds(self.make_rng("dropout"), across.positions(len(tokens)))
            inputs = inputs._replace(seeds=seeds, rate=dropout_rate)
        x, own, inputs = self.begin(tokens, inputs, jnp.arange(tokens.shape[1]))
        x = inputs._replace(layer=self.layers).dropped(x, 0)
        own = [{**mine, "layer": jnp.int32(index)} for index, mine in enumerate(own)]
        kind = self.attention_kind(tokens.shape[1], inputs.seeds is not None)
        x, norms = run_blocks(
            [self.block(index, kind) for index in range(self.layers)],
            self.block_params,
            own,
            x,
            inputs,
            scan=is_scanned(self.scan_layers),
        )
        self.sow("intermediates", "activation_norm", norms)
        return self._scaled(self.finish(x)), self.head_kernel()

    def logits(
        self, hidden: Float[Array, "batch length width"], kernel: Float[Array, "width vocabulary"]
    ) -> Float[Array, "batch length vocabulary"]:
        """Computes float32 logits from what `hidden_and_head` gives."""
        kernel = kernel.astype(hidden.dtype)
        wide = jnp.promote_types(hidden.dtype, jnp.float32)
        logits = jnp.einsum("blw,wv->blv", hidden, kernel, preferred_element_type=wide)
        return soft_cap(logits, self.logit_cap)

    def _scaled(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
        return x if self.output_scale == 1 else x * jnp.asarray(self.output_scale, x.dtype)

    def attention_kind(self, length: int, dropout: bool = False) -> str:
        """Names the implementation of attention that a pass over `length` tokens uses.

        dropout: the pass drops numbers.
        """
        if self.attention != "auto":
            return self.attention
        if not self.causal:
            return "einsum"
        return attention_kind(
            current_backend(),
            self.dtype,
            length=length,
            head_size=self.head_size,
            devices=traced_devices(),
            dropout=dropout and self.attention_dropout,
        )

    def empty_cache(self, batch: int, length: int) -> list[Cache]:
        """Makes the cache of `decode` for sequences of up to `length` tokens.

        Raises:
          InputError: a model that sees the tokens after each, which are not there yet.
        """
        if not self.causal:
            raise InputError("causal = False; expected a causal model to write with: causal=True")
        return [
            Cache.empty(batch, length, self.groups, self.head_size, self.dtype)
            for _ in range(self.layers)
        ]

    def decode(
        self,
        tokens: Int[Array, "batch new"],
        cache: list[AnyCache],
        start: Int[Array, "*rows"] | int,
        at: Int[Array, " batch"] | None = None,
    ) -> tuple[Float[Array, "batch places vocabulary"], list[AnyCache]]:
        """Computes the logits of the token after each new one, and the cache with the new ones.

        start: how many tokens are in the cache: one number, or one per row. It may be traced.
          Prompts of several lengths are padded at their ends, written from 0 on, and go on from
          their own lengths, where new tokens take the place of the padding. If the cache is too
          short for start + new, the logits are NaN.
        at: which of the new tokens alone gets logits, a place per row; None: all do. Of a prompt
          only the last one counts, and logits of all would fill the memory.
        """
        start = jnp.asarray(start, jnp.int32)
        length = cache[0].length
        if tokens.shape[1] > length:
            raise InputError(f"{tokens.shape[1]} tokens; expected at most the cache's {length}")
        positions = start[..., None] + jnp.arange(tokens.shape[1])
        x, own, inputs = self.begin(tokens, BlockInputs(start=start), positions)
        after = []
        for index in range(self.layers):
            mine = inputs._replace(cache=cache[index], layer=index, **own[index])
            step = traced_once(self.block(index, "einsum"), across.current_mesh())
            x, updated = step(self.block_params[index], x, mine)
            after.append(updated)
        if at is not None:
            x = jnp.take_along_axis(x, at[:, None, None], axis=1)
        logits = self.logits(self._scaled(self.finish(x)), self.head_kernel())
        fits = jnp.reshape(start + tokens.shape[1] <= length, (-1, 1, 1))
        return jnp.where(fits, logits, jnp.nan), after

    def embedding(self, name: str, init: Callable, rows: int) -> Float[Array, "rows width"]:
        """Makes the parameter `name`/embedding."""
        return self.param(name, lambda key: {"embedding": init(key, (rows, self.width))})[
            "embedding"
        ]

    def blocks_of_parameters(self) -> list[PyTree]:
        """Makes the parameters block_0, block_1, ..., of the blocks."""
        return [
            self.param(f"block_{index}", partial(self.block_parameters, index))
            for index in range(self.layers)
        ]

    def block_parameters(self, index: int, key: Key[Array, ""]) -> PyTree:
        """Draws the parameters of block number `index`."""
        return self.block(index, "einsum").init(key, *self.example_inputs(index))["params"]

    def example_inputs(self, index: int) -> tuple[Array, BlockInputs]:
        """Makes inputs of block number `index`, of one token, from which it knows its shapes."""
        return jnp.zeros((1, 1, self.width), self.dtype), BlockInputs()

    @property
    def groups(self) -> int:
        """The number of heads of keys and values."""
        return self.heads
