"""The block of BERT (Devlin et al. 2019, section 3): Vaswani et al. 2017, normalised last."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across
from jaxmodels.models.layers import Dense, LayerNorm
from jaxmodels.models.layers.attention import attention
from jaxmodels.models.layers.stack import BlockInputs
from jaxmodels.ops.materialize import materialize_on_cpu
from jaxmodels.protocol import MODEL_AXIS


class BertBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + MLP(x)), with the exact GELU."""

    heads: int
    hidden: int
    epsilon: float
    deviation: float = 0.02
    attention_dropout: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length width"], inputs: BlockInputs
    ) -> tuple[Float[Array, "batch length width"], None]:
        width = x.shape[-1]

        def dense(features, name):
            init = nn.initializers.normal(self.deviation)
            return Dense(features, dtype=self.dtype, kernel_init=init, name=name)

        def norm(name):
            return LayerNorm(self.epsilon, self.dtype, name=name)

        query, key, value = (
            dense(width, name)(x).reshape(*x.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        drops = self.attention_dropout and inputs.seeds is not None
        drop = (lambda weights: inputs.dropped(weights, 2)) if drops else None
        y = attention(query, key, value, causal=False, valid=inputs.valid, drop=drop)
        y = materialize_on_cpu(dense(width, "out")(y.reshape(x.shape)))
        x = norm("norm1")(x + inputs.dropped(y, 0))
        y = materialize_on_cpu(dense(self.hidden, "linear1")(x))
        y = across.constrain(y, across.BATCH, None, MODEL_AXIS, what="numbers inside the MLP")
        y = materialize_on_cpu(nn.gelu(y, approximate=False))
        y = materialize_on_cpu(dense(width, "linear2")(y))
        return norm("norm2")(x + inputs.dropped(y, 1)), None
