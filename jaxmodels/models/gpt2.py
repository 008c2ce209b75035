"""GPT-2 as published (Radford et al. 2019, Language Models are Unsupervised Multitask Learners)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.causal_model import CausalModel
from jaxmodels.models.layers import Dense, LayerNorm
from jaxmodels.models.layers.attention import AnyCache, attention, cached_attention
from jaxmodels.models.layers.masks import positions_in_documents
from jaxmodels.models.layers.stack import BY_WORDS, LATE, BlockInputs
from jaxmodels.models.options import require_at_least
from jaxmodels.ops.materialize import materialize_on_cpu
from jaxmodels.ops.one_row import one_row_dot_general
from jaxmodels.protocol import MODEL_AXIS, Sharding, ShardingRule

VARIANTS = {
    # The parameters count the tied head once: 124, 355, 774 and 1,558 million for 50,257 words and
    # a context of 1,024 (Radford et al. 2019, table 2, whose own counts are smaller by mistake).
    "small": {"layers": 12, "width": 768, "heads": 12},
    "medium": {"layers": 24, "width": 1024, "heads": 16},
    "large": {"layers": 36, "width": 1280, "heads": 20},
    "xl": {"layers": 48, "width": 1600, "heads": 25},
    # The CPU setting of nanoGPT's README.
    "tiny": {"layers": 4, "width": 128, "heads": 4},
}
_DEVIATION = 0.02  # of initial kernels and embeddings, as in OpenAI's code

# As Shoeybi et al. 2019, Megatron-LM, section 3: the first kernels of attention and MLP are divided
# by outputs, the second ones by inputs, so that a block adds over devices twice.
SHARDING = Sharding(
    (
        ShardingRule(r"(^|/)(query|key|value|linear1)/kernel$", (None, MODEL_AXIS)),
        ShardingRule(r"(^|/)(query|key|value|linear1)/bias$", (MODEL_AXIS,)),
        ShardingRule(r"(^|/)(out|linear2)/kernel$", (MODEL_AXIS, None)),
        *BY_WORDS,
    ),
    LATE,
)


@dataclass(frozen=True, kw_only=True)
class GPT2Config:
    """Options of GPT-2."""

    variant: str = "tiny"
    """Size: small (124 million parameters), medium (355), large (774), xl (1,558), as published
    (Radford et al. 2019, table 2), or tiny (nanoGPT's CPU setting)."""
    layers: int = 0
    """Blocks; 0: the variant's own."""
    width: int = 0
    """Width of the residual stream; 0: the variant's own."""
    heads: int = 0
    """Attention heads; 0: the variant's own."""
    bias: bool = True
    """Biases of linear layers and norms. The published models have them; nanoGPT trains without."""
    attention_dropout: bool = True
    """With --dropout, attention weights are dropped too, as published. Fused attention of
    accelerators cannot do that; --no-attention-dropout lets them use it."""

    def validate(self) -> None:
        """Raises InputError for an unknown variant, a negative size, or heads that do not divide
        the width."""
        require_known("variant", self.variant, VARIANTS)
        require_at_least(0, self, "layers", "width", "heads")
        width, heads = self.sizes()["width"], self.sizes()["heads"]
        if width % heads:
            raise InputError(f"width = {width}; expected a multiple of heads = {heads}: --heads N")

    def create(
        self,
        vocabulary: int,
        context: int,
        dtype: DTypeLike = jnp.float32,
        *,
        scan_layers: str = "auto",
        attention: str = "auto",
        causal: bool = True,
    ) -> "GPT2":
        """Creates the model; the keywords are those of `LanguageModels`."""
        self.validate()
        return GPT2(
            vocabulary=vocabulary,
            context=context,
            dtype=dtype,
            bias=self.bias,
            attention_dropout=self.attention_dropout,
            scan_layers=scan_layers,
            attention=attention,
            causal=causal,
            **self.sizes(),
        )

    def sizes(self) -> dict[str, Any]:
        """Returns layers, width and heads."""
        own = {"layers": self.layers, "width": self.width, "heads": self.heads}
        return VARIANTS[self.variant] | {name: size for name, size in own.items() if size}


class GPT2(CausalModel):
    """GPT-2: learned positions, normalisation first, GELU by tanh, head tied to the embedding.

    Where documents are given, the positions of each count from its own start, so that its logits
    do not depend on what else is in the window.
    """

    sharding: ClassVar[Sharding] = SHARDING

    layers: int = 12
    width: int = 768
    heads: int = 12
    bias: bool = True
    attention_dropout: bool = True
    tied: bool = True

    def setup(self):
        normal = nn.initializers.normal(_DEVIATION)
        self.token_embedding = self.embedding("token_embedding", normal, self.vocabulary)
        self.position_embedding = self.embedding("position_embedding", normal, self.context)
        self.block_params = self.blocks_of_parameters()
        self.norm = LayerNorm(dtype=self.dtype, use_bias=self.bias)

    @property
    def head_size(self) -> int:
        """The numbers of one head."""
        return self.width // self.heads

    def block(self, index: int, kind: str) -> "Block":
        """Makes block number `index`; all are equal."""
        return Block(
            heads=self.heads,
            layers=self.layers,
            bias=self.bias,
            attention_dropout=self.attention_dropout,
            kind=kind,
            causal=self.causal,
            dtype=self.dtype,
            parent=None,
        )

    def begin(self, tokens, inputs, positions):
        """Embeds tokens and positions."""
        if tokens.shape[1] > self.context:
            raise InputError(
                f"{tokens.shape[1]} tokens; expected at most the context of {self.context},"
                " for which there are positions: --context N"
            )
        if inputs.documents is not None:
            positions = positions_in_documents(inputs.documents)
        # A position beyond the table gives NaN.
        x = jnp.take(self.token_embedding, tokens, axis=0)
        x = x + jnp.take(self.position_embedding, positions, axis=0)
        return x.astype(self.dtype), [{} for _ in range(self.layers)], inputs

    def finish(self, x):
        """Normalises the stream after the last block."""
        return self.norm(x)

    def head_kernel(self) -> Float[Array, "width vocabulary"]:
        """Gives the kernel of the head."""
        return self.token_embedding.T


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    heads: int
    layers: int
    bias: bool = True
    attention_dropout: bool = True
    kind: str = "einsum"
    causal: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length width"], inputs: BlockInputs
    ) -> tuple[Float[Array, "batch length width"], AnyCache | None]:
        width = x.shape[-1]

        def dense(features, name, deviation=_DEVIATION):
            init = nn.initializers.normal(deviation)
            options = {"kernel_init": init, "dot_general": one_row_dot_general}
            return Dense(features, self.bias, self.dtype, name=name, **options)

        def norm(name):
            return LayerNorm(dtype=self.dtype, use_bias=self.bias, name=name)

        # Radford et al. 2019, section 2.3: residual layers start smaller by 1 / sqrt(their number).
        small = _DEVIATION / (2 * self.layers) ** 0.5
        y = norm("norm1")(x)
        query, key, value = (
            dense(width, name)(y).reshape(*y.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        y, cache = self._attend(query, key, value, inputs)
        y = materialize_on_cpu(dense(width, "out", small)(y.reshape(x.shape)))
        x = x + inputs.dropped(y, 0)
        y = materialize_on_cpu(dense(4 * width, "linear1")(norm("norm2")(x)))
        y = across.constrain(y, across.BATCH, None, MODEL_AXIS, what="numbers inside the MLP")
        y = materialize_on_cpu(nn.gelu(y, approximate=True))
        y = materialize_on_cpu(dense(width, "linear2", small)(y))
        return x + inputs.dropped(y, 1), cache

    def _attend(self, query, key, value, inputs: BlockInputs):
        if inputs.cache is not None:
            return cached_attention(query, key, value, inputs.cache, inputs.start)
        drops = self.attention_dropout and inputs.seeds is not None
        drop = (lambda weights: inputs.dropped(weights, 2)) if drops else None
        options = {"kind": self.kind, "causal": self.causal, "drop": drop}
        options |= {"documents": inputs.documents}
        return attention(query, key, value, **options), None
