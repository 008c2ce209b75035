"""The blocks of an encoder and of a decoder (Vaswani et al. 2017, section 3.1), normalised first or
last (Xiong et al. 2020)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across
from jaxmodels.models.layers import Dense, LayerNorm
from jaxmodels.models.layers.attention import AnyCache, Cache, attention, cached_attention
from jaxmodels.models.layers.beam_attention import attention_to
from jaxmodels.models.layers.stack import BlockInputs
from jaxmodels.ops.materialize import materialize_on_cpu
from jaxmodels.protocol import MODEL_AXIS

ACTIVATIONS: dict[str, Callable] = {
    "relu": nn.relu,
    "gelu": partial(nn.gelu, approximate=False),
    "silu": nn.silu,
}
Stream = Float[Array, "batch length width"]


class _Block(nn.Module):
    """What the blocks of encoder and decoder have in common.

    normalises_first: x + f(norm(x)); otherwise norm(x + f(x)).
    attention_dropout: weights of attention are dropped too.
    kind: of causal self-attention that drops no weights.
    """

    width: int
    heads: int
    hidden: int
    activation: str = "relu"
    normalises_first: bool = True
    attention_dropout: bool = False
    kind: str = "einsum"
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.query, self.key, self.value = (self._dense(self.width) for _ in range(3))
        self.out = self._dense(self.width)
        self.linear1, self.linear2 = self._dense(self.hidden), self._dense(self.width)
        self.norm1, self.norm2 = self._norm(), self._norm()

    def _dense(self, features: int) -> Dense:
        init = nn.initializers.xavier_uniform()
        return Dense(features, dtype=self.dtype, kernel_init=init)

    def _norm(self) -> LayerNorm:
        return LayerNorm(dtype=self.dtype)

    def _added(
        self, norm: Callable, x: Stream, layer: Callable, inputs: BlockInputs, use: int
    ) -> Stream:
        """Adds what a layer makes of the stream."""
        if self.normalises_first:
            return x + inputs.dropped(layer(norm(x)), use)
        return norm(x + inputs.dropped(layer(x), use))

    def _heads(self, x: Stream) -> Float[Array, "batch length heads size"]:
        return x.reshape(*x.shape[:2], self.heads, -1)

    def _drop(self, inputs: BlockInputs, use: int) -> Callable | None:
        drops = self.attention_dropout and inputs.seeds is not None
        return (lambda weights: inputs.dropped(weights, use)) if drops else None

    def _self_attention(
        self, y: Stream, inputs: BlockInputs, causal: bool
    ) -> tuple[Stream, AnyCache | None]:
        query, key, value = (self._heads(dense(y)) for dense in (self.query, self.key, self.value))
        if inputs.cache is not None:
            out, cache = cached_attention(
                query, key, value, inputs.cache, inputs.start, bias=inputs.bias
            )
        else:
            drop, cache = self._drop(inputs, 2), None
            plain = drop is None and inputs.bias is None and causal
            out = attention(
                query,
                key,
                value,
                kind=self.kind if plain else "einsum",
                causal=causal,
                valid=None if causal else inputs.valid,
                drop=drop,
                bias=inputs.bias,
            )
        return materialize_on_cpu(self.out(out.reshape(y.shape))), cache

    def _mlp(self, y: Stream) -> Stream:
        y = materialize_on_cpu(self.linear1(y))
        y = across.constrain(y, across.BATCH, None, MODEL_AXIS, what="numbers inside the MLP")
        y = materialize_on_cpu(ACTIVATIONS[self.activation](y))
        return materialize_on_cpu(self.linear2(y))


class EncoderBlock(_Block):
    """Self-attention over the places that are valid, then an MLP."""

    def __call__(self, x: Stream, inputs: BlockInputs) -> tuple[Stream, None]:
        def attend(y):
            return self._self_attention(y, inputs, causal=False)[0]

        x = self._added(self.norm1, x, attend, inputs, 0)
        return self._added(self.norm2, x, self._mlp, inputs, 1), None


class DecoderBlock(_Block):
    """Causal self-attention, attention to the encoder's memory, then an MLP.

    The rows of the stream may be several beams of each row of the memory, side by side.
    """

    def setup(self):
        super().setup()
        self.cross_query, self.cross_key, self.cross_value = (
            self._dense(self.width) for _ in range(3)
        )
        self.cross_out = self._dense(self.width)
        self.norm3 = self._norm()

    def __call__(self, x: Stream, inputs: BlockInputs) -> tuple[Stream, AnyCache | None]:
        x, cache = self._with_itself(x, inputs)
        x = self._added(self.norm3, x, lambda y: self._cross_attention(y, inputs), inputs, 3)
        return self._added(self.norm2, x, self._mlp, inputs, 1), cache

    def keys_and_values(self, memory: Float[Array, "batch source width"]) -> Cache:
        """Computes the keys and values of a memory."""
        return Cache(self._heads(self.cross_key(memory)), self._heads(self.cross_value(memory)))

    def cross_weights(
        self, x: Stream, inputs: BlockInputs
    ) -> Float[Array, "batch heads length source"]:
        """Computes the weights of the attention to the memory."""
        x = self._with_itself(x, inputs)[0]
        query = self._heads(self.cross_query(self.norm3(x) if self.normalises_first else x))
        memory: Any = inputs.memory
        key = self._heads(self.cross_key(memory))
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
        mask = True if inputs.memory_valid is None else inputs.memory_valid[:, None, None]
        return nn.softmax(scores.astype(jnp.float32), axis=-1, where=mask)

    def _with_itself(self, x: Stream, inputs: BlockInputs) -> tuple[Stream, AnyCache | None]:
        cache = None

        def attend(y):
            nonlocal cache
            y, cache = self._self_attention(y, inputs, causal=True)
            return y

        return self._added(self.norm1, x, attend, inputs, 0), cache

    def _cross_attention(self, y: Stream, inputs: BlockInputs) -> Stream:
        query = self._heads(self.cross_query(y))
        if inputs.cross is not None:
            out = attention_to(query, inputs.cross, inputs.memory_valid)
        else:
            memory: Any = inputs.memory
            read, drop = self.keys_and_values(memory), self._drop(inputs, 4)
            how: dict[str, Any] = {"valid": inputs.memory_valid, "drop": drop}
            out = attention(query, read.key, read.value, causal=False, **how)
        return materialize_on_cpu(self.cross_out(out.reshape(y.shape)))
