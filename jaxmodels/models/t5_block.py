"""The blocks of T5 (Raffel et al. 2020, section 2.1): normalised first, without any bias."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across
from jaxmodels.models.gpt_block import RMSNorm
from jaxmodels.models.layers import Dense
from jaxmodels.models.layers.attention import AnyCache, Cache, attention, cached_attention
from jaxmodels.models.layers.beam_attention import attention_to
from jaxmodels.models.layers.stack import BlockInputs
from jaxmodels.ops.materialize import materialize_on_cpu
from jaxmodels.protocol import MODEL_AXIS

EPSILON = 1e-6  # of norms
Stream = Float[Array, "batch length width"]


class T5Block(nn.Module):
    """x + attention(norm(x)), in a decoder x + attention(norm(x), memory), then x + MLP(norm(x)).

    The scores of attention are not scaled: initial kernels of queries are smaller instead. The rows
    of a decoder's stream may be several beams of each row of the memory, side by side.

    gated: the MLP is linear2(gelu(gate) * linear1) (Shazeer 2020); otherwise it has one ReLU.
    decodes: the block is a decoder's.
    """

    width: int
    heads: int
    head_size: int
    hidden: int
    gated: bool = False
    decodes: bool = False
    kind: str = "einsum"
    dtype: DTypeLike = jnp.float32

    def setup(self):
        inner = self.heads * self.head_size
        self.query = self._dense(inner, self.width * self.head_size)
        self.key, self.value = (self._dense(inner, self.width) for _ in range(2))
        self.out = self._dense(self.width, inner)
        self.norm1, self.norm2 = self._norm(), self._norm()
        if self.decodes:
            self.cross_query = self._dense(inner, self.width * self.head_size)
            self.cross_key, self.cross_value = (self._dense(inner, self.width) for _ in range(2))
            self.cross_out = self._dense(self.width, inner)
            self.norm3 = self._norm()
        self.linear1 = self._dense(self.hidden, self.width)
        self.linear2 = self._dense(self.width, self.hidden)
        if self.gated:
            self.gate = self._dense(self.hidden, self.width)

    def _dense(self, features: int, inputs: int) -> Dense:
        init = nn.initializers.normal(inputs**-0.5)
        return Dense(features, use_bias=False, dtype=self.dtype, kernel_init=init)

    def _norm(self) -> RMSNorm:
        return RMSNorm(True, self.dtype, EPSILON)

    def __call__(self, x: Stream, inputs: BlockInputs) -> tuple[Stream, AnyCache | None]:
        y, cache = self._self_attention(self.norm1(x), inputs)
        x = x + inputs.dropped(y, 0)
        if self.decodes:
            x = x + inputs.dropped(self._cross_attention(self.norm3(x), inputs), 3)
        return x + inputs.dropped(self._mlp(self.norm2(x), inputs), 1), cache

    def keys_and_values(self, memory: Float[Array, "batch source width"]) -> Cache:
        """Computes the keys and values of a memory."""
        return Cache(self._heads(self.cross_key(memory)), self._heads(self.cross_value(memory)))

    def _heads(self, x: Stream) -> Float[Array, "batch length heads size"]:
        return x.reshape(*x.shape[:2], self.heads, self.head_size)

    def _drop(self, inputs: BlockInputs, use: int) -> Callable | None:
        return None if inputs.seeds is None else lambda weights: inputs.dropped(weights, use)

    def _self_attention(self, y: Stream, inputs: BlockInputs) -> tuple[Stream, AnyCache | None]:
        query, key, value = (self._heads(dense(y)) for dense in (self.query, self.key, self.value))
        how: dict[str, Any] = {"scale": 1.0, "bias": inputs.bias}
        if inputs.cache is not None:
            out, cache = cached_attention(query, key, value, inputs.cache, inputs.start, **how)
        else:
            drop, cache = self._drop(inputs, 2), None
            out = attention(
                query, key, value, causal=self.decodes, valid=inputs.valid, drop=drop, **how
            )
        return self._projected(self.out, out), cache

    def _cross_attention(self, y: Stream, inputs: BlockInputs) -> Stream:
        query = self._heads(self.cross_query(y))
        if inputs.cross is not None:
            out = attention_to(query, inputs.cross, inputs.memory_valid, 1.0)
        else:
            memory: Any = inputs.memory
            read, drop = self.keys_and_values(memory), self._drop(inputs, 4)
            how: dict[str, Any] = {"valid": inputs.memory_valid, "drop": drop}
            out = attention(query, read.key, read.value, causal=False, scale=1.0, **how)
        return self._projected(self.cross_out, out)

    def _projected(self, dense: Dense, heads: Float[Array, "batch length heads size"]) -> Stream:
        return materialize_on_cpu(dense(heads.reshape(*heads.shape[:2], -1)))

    def _mlp(self, y: Stream, inputs: BlockInputs) -> Stream:
        x = materialize_on_cpu(self.linear1(y))
        if self.gated:
            x = nn.gelu(materialize_on_cpu(self.gate(y)), approximate=True) * x
        else:
            x = nn.relu(x)
        x = across.constrain(x, across.BATCH, None, MODEL_AXIS, what="numbers inside the MLP")
        return materialize_on_cpu(self.linear2(inputs.dropped(materialize_on_cpu(x), 5)))
