"""The block of the GPT, whose options `models.gpt.GPTConfig` describes with their sources."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Key

from jaxmodels.models.layers import Dense, rms_norm
from jaxmodels.models.layers.attention import AnyCache, attention, cached_attention
from jaxmodels.models.layers.rotary import rotate
from jaxmodels.models.layers.stack import BlockInputs
from jaxmodels.ops.materialize import materialize_on_cpu
from jaxmodels.ops.one_row import one_row_dot_general

MLPS = ("relu2", "swiglu", "gelu")
_EPSILON = 1e-6  # of RMSNorm
_GATE_INPUTS = 12  # numbers of the stream that a gate of value embeddings reads, as in nanochat


class RMSNorm(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019), with a learnt scale if asked."""

    has_scale: bool = False
    dtype: DTypeLike = jnp.float32
    epsilon: float = _EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "*rest width"]) -> Float[Array, "*rest width"]:
        y = rms_norm(x, self.epsilon)
        if self.has_scale:
            y = y * self.param("scale", nn.initializers.ones, x.shape[-1:]).astype(y.dtype)
        return materialize_on_cpu(y.astype(self.dtype))


class GPTBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), where x is a * stream + b * first embedding.

    out_deviation: of the initial kernels of both projections into the stream, times 1 / sqrt of
      their inputs.
    """

    heads: int
    groups: int
    mlp: str
    hidden: int
    qk_norm: bool
    scale: float
    norm_scale: bool
    residual_scales: bool
    window: int
    out_deviation: float
    kind: str
    causal: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length width"], inputs: BlockInputs
    ) -> tuple[Float[Array, "batch length width"], AnyCache | None]:
        if self.residual_scales and inputs.first is not None:
            ones, zeros = nn.initializers.ones, nn.initializers.zeros
            stream = self.param("stream_scale", ones, ()).astype(x.dtype)
            embedding = self.param("embedding_scale", zeros, ()).astype(x.dtype)
            x = materialize_on_cpu(stream * x + embedding * inputs.first)
        y = RMSNorm(self.norm_scale, self.dtype, name="norm1")(x)
        y, cache = self._attention(y, inputs)
        y = materialize_on_cpu(self._dense(x.shape[-1], "out", self.out_deviation)(y))
        x = x + inputs.dropped(y, 0)
        y = RMSNorm(self.norm_scale, self.dtype, name="norm2")(x)
        return x + inputs.dropped(self._mlp(y), 1), cache

    def _dense(self, features: int, name: str, deviation: float = 1.0) -> Dense:
        def init(key, shape, dtype):
            return uniform(key, shape, deviation * shape[0] ** -0.5).astype(dtype)

        options = {"kernel_init": init, "dot_general": one_row_dot_general}
        return Dense(features, use_bias=False, dtype=self.dtype, name=name, **options)

    def _attention(self, y, inputs: BlockInputs):
        size = y.shape[-1] // self.heads
        query, key, value = (
            self._dense(heads * size, name)(y).reshape(*y.shape[:2], heads, size)
            for name, heads in (
                ("query", self.heads),
                ("key", self.groups),
                ("value", self.groups),
            )
        )
        if inputs.value is not None:
            init = nn.initializers.uniform(0.02)
            gate = Dense(self.groups, False, self.dtype, kernel_init=init, name="value_gate")
            share = 3 * nn.sigmoid(gate(y[..., :_GATE_INPUTS]))
            value += share[..., None] * inputs.value
        if inputs.angles is not None:
            query, key = rotate(query, inputs.angles), rotate(key, inputs.angles)
        if self.qk_norm:
            query, key = rms_norm(query, _EPSILON), rms_norm(key, _EPSILON)
        options = {"window": self.window, "scale": self.scale}
        if inputs.cache is not None:
            arrays = query, key, value, inputs.cache, inputs.start
            out, cache = cached_attention(*arrays, **options)
        else:
            options |= {"kind": self.kind, "causal": self.causal, "documents": inputs.documents}
            out, cache = attention(query, key, value, **options), None
        return out.reshape(y.shape), cache

    def _mlp(self, y):
        width = y.shape[-1]
        small = 0.4 if self.mlp == "relu2" else 1.0  # nanochat
        hidden = materialize_on_cpu(self._dense(self.hidden, "linear1", small)(y))
        if self.mlp == "relu2":
            hidden = jnp.square(nn.relu(hidden))
        elif self.mlp == "gelu":
            hidden = nn.gelu(hidden, approximate=True)
        else:
            hidden = nn.silu(self._dense(self.hidden, "gate")(y)) * hidden
        out = self._dense(width, "linear2", self.out_deviation)(materialize_on_cpu(hidden))
        return materialize_on_cpu(out)


def uniform(
    key: Key[Array, ""], shape: tuple[int, ...], deviation: float
) -> Float[Array, "inputs outputs"]:
    """Draws uniform numbers of a standard deviation, which have no outliers (nanochat)."""
    side = 3**0.5 * deviation
    return jax.random.uniform(key, shape, minval=-side, maxval=side)
