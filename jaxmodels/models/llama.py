"""Llama-like decoders as published: Llama (Touvron et al. 2023; Llama Team 2024), SmolLM2 (Ben
Allal et al. 2025) and, with biases of queries, keys and values, Qwen2 (Yang et al. 2024).

The names of their published weights are in `llama_names`.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels import across
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.causal_model import CausalModel
from jaxmodels.models.gpt_block import RMSNorm
from jaxmodels.models.layers import Dense
from jaxmodels.models.layers.attention import AnyCache, attention, cached_attention
from jaxmodels.models.layers.rotary import Stretch, rotary_angles, rotate
from jaxmodels.models.layers.stack import BY_WORDS, LATE, BlockInputs
from jaxmodels.models.options import require_at_least
from jaxmodels.ops.materialize import materialize_on_cpu
from jaxmodels.ops.one_row import one_row_dot_general
from jaxmodels.protocol import MODEL_AXIS, Sharding, ShardingRule

# As Shoeybi et al. 2019, Megatron-LM, section 3: the first kernels of attention and MLP are divided
# by outputs, the second ones by inputs, so that a block adds over devices twice.
SHARDING = Sharding(
    (
        ShardingRule(r"(^|/)(query|key|value|linear1|gate)/kernel$", (None, MODEL_AXIS)),
        ShardingRule(r"(^|/)(query|key|value|linear1|gate)/bias$", (MODEL_AXIS,)),
        ShardingRule(r"(^|/)(out|linear2)/kernel$", (MODEL_AXIS, None)),
        *BY_WORDS,
    ),
    LATE,
)

_PLAIN: dict[str, Any] = {
    "head_size": 0,
    "rotary_base": 10_000.0,
    "rotary_factor": 1.0,
    "rotary_context": 8192,
    "norm_epsilon": 1e-5,
    "qkv_bias": False,
    "tied": False,
}


def _variant(layers: int, width: int, heads: int, groups: int, hidden: int, **others: Any) -> dict:
    sizes = {"layers": layers, "width": width, "heads": heads, "key_value_heads": groups}
    return {**_PLAIN, **sizes, "hidden": hidden, **others}


_QWEN2 = {"rotary_base": 1e6, "norm_epsilon": 1e-6, "qkv_bias": True}
_LLAMA32 = {"rotary_base": 5e5, "rotary_factor": 32.0, "tied": True}
VARIANTS = {
    "tiny": _variant(4, 128, 4, 2, 344, tied=True),
    "smollm2-135m": _variant(30, 576, 9, 3, 1536, rotary_base=1e5, tied=True),
    "smollm2-360m": _variant(32, 960, 15, 5, 2560, rotary_base=1e5, tied=True),
    "smollm2-1.7b": _variant(24, 2048, 32, 32, 8192, rotary_base=1.3e5, tied=True),
    "llama2-7b": _variant(32, 4096, 32, 32, 11008),
    "llama3-8b": _variant(32, 4096, 32, 8, 14336, rotary_base=5e5),
    "llama3.2-1b": _variant(16, 2048, 32, 8, 8192, **_LLAMA32),
    "qwen2.5-0.5b": _variant(24, 896, 14, 2, 4864, **_QWEN2, tied=True),
    "qwen2.5-7b": _variant(28, 3584, 28, 4, 18944, **_QWEN2),
}


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """Options of Llama-like decoders."""

    variant: str = "tiny"
    """Sizes as published: smollm2-135m, smollm2-360m, smollm2-1.7b, llama2-7b, llama3-8b,
    llama3.2-1b, qwen2.5-0.5b, qwen2.5-7b, or tiny. The context is that of --context."""
    layers: int = 0
    """Blocks; 0: the variant's own."""
    width: int = 0
    """Width of the residual stream; 0: the variant's own."""
    heads: int = 0
    """Attention heads; 0: the variant's own."""
    key_value_heads: int = 0
    """Heads of keys and values, each shared by several of queries (Ainslie et al. 2023, GQA); 0:
    the variant's own."""
    head_size: int = 0
    """Numbers of a head; 0: width / heads."""
    hidden: int = 0
    """Width inside the MLP; 0: the variant's own."""
    rotary_base: float = 0.0
    """Base of the wavelengths of rotary positions (Su et al. 2021); 0: the variant's own."""
    rotary_factor: float = 0.0
    """How many times longer Llama 3.1 and later make the context by slower rotary positions; 1:
    none; 0: the variant's own."""
    rotary_context: int = 0
    """The context before it was made longer; 0: the variant's own, or 8,192."""
    norm_epsilon: float = 0.0
    """Added to the mean square in RMSNorm (Zhang & Sennrich 2019); 0: the variant's own."""
    qkv_bias: bool | None = None
    """Biases of queries, keys and values, as Qwen2 has; None: the variant's own."""
    tied: bool | None = None
    """The head is the transposed table of embeddings (Press & Wolf 2017); None: the variant's
    own."""

    def validate(self) -> None:
        """Raises InputError for an unknown variant, or sizes that do not go together."""
        require_known("variant", self.variant, VARIANTS)
        require_at_least(0, self, *(name for name in _PLAIN if name not in ("qkv_bias", "tied")))
        require_at_least(0, self, "layers", "width", "heads", "key_value_heads", "hidden")
        sizes = self.sizes()
        width, heads, groups = sizes["width"], sizes["heads"], sizes["key_value_heads"]
        if not sizes["head_size"] and width % heads:
            raise InputError(f"width = {width}; expected a multiple of heads = {heads}: --heads N")
        if heads % groups:
            raise InputError(
                f"key_value_heads = {groups}; expected a divisor of heads = {heads}:"
                " --key-value-heads N"
            )
        size = sizes["head_size"] or width // heads
        if size % 2:
            raise InputError(f"head_size = {size}; expected an even number: --head-size N")
        if sizes["rotary_base"] <= 1 or sizes["rotary_factor"] < 1:
            raise InputError(
                f"rotary_base = {sizes['rotary_base']}, rotary_factor = {sizes['rotary_factor']};"
                " expected a base above 1 and a factor of at least 1"
            )

    def create(
        self,
        vocabulary: int,
        context: int,
        dtype: DTypeLike = jnp.float32,
        *,
        scan_layers: str = "auto",
        attention: str = "auto",
        causal: bool = True,
    ) -> "Llama":
        """Creates the model; the keywords are those of `LanguageModels`."""
        self.validate()
        sizes = self.sizes()
        factor, before = sizes.pop("rotary_factor"), sizes.pop("rotary_context")
        stretch = Stretch(factor, before) if factor > 1 else None
        own = {**sizes, "head_size": sizes["head_size"] or sizes["width"] // sizes["heads"]}
        how: dict[str, Any] = {"scan_layers": scan_layers, "attention": attention}
        return Llama(
            vocabulary=vocabulary,
            context=context,
            dtype=dtype,
            stretch=stretch,
            causal=causal,
            **own,
            **how,
        )

    def sizes(self) -> dict[str, Any]:
        """Returns all options but the variant, with the variant's own in the places of 0 and
        None."""
        own = {name: value for name, value in asdict(self).items() if name != "variant"}
        given = {name: value for name, value in own.items() if value or value is False}
        return VARIANTS[self.variant] | given

    def of_width(self, width: int) -> dict[str, int]:
        """Gives the sizes of a width with heads of the same size and other widths in proportion.

        Raises:
          InputError: a width that they do not divide.
        """
        sizes = self.sizes()
        names = [name for name in ("heads", "key_value_heads", "hidden") if sizes[name]]
        unfit = [name for name in names if sizes[name] * width % sizes["width"]]
        if unfit:
            raise InputError(
                f"width = {width}; expected one in which {' and '.join(unfit)} are whole numbers in"
                f" proportion to {sizes['width']}"
            )
        return {"width": width} | {name: sizes[name] * width // sizes["width"] for name in names}


class Llama(CausalModel):
    """A Llama-like decoder: RMSNorm first, rotary positions, a gated MLP, and no biases but those
    of queries, keys and values where `qkv_bias` asks for them.

    stretch: of rotary positions; None: none.
    """

    sharding: ClassVar[Sharding] = SHARDING

    layers: int = 4
    width: int = 128
    heads: int = 4
    key_value_heads: int = 2
    head_size: int = 32
    hidden: int = 344
    rotary_base: float = 10_000.0
    stretch: Stretch | None = None
    norm_epsilon: float = 1e-5
    qkv_bias: bool = False

    def setup(self):
        init = nn.initializers.normal(self.width**-0.5)
        self.token_embedding = self.embedding("token_embedding", init, self.vocabulary)
        self.block_params = self.blocks_of_parameters()
        self.norm = RMSNorm(True, self.dtype, self.norm_epsilon)
        if not self.tied:
            shape = self.width, self.vocabulary
            self.head = self.param("head", lambda key: {"kernel": init(key, shape)})

    @property
    def groups(self) -> int:
        """The number of heads of keys and values."""
        return self.key_value_heads

    def block(self, index: int, kind: str) -> "LlamaBlock":
        """Makes block number `index`; all are equal."""
        return LlamaBlock(
            heads=self.heads,
            groups=self.key_value_heads,
            head_size=self.head_size,
            hidden=self.hidden,
            norm_epsilon=self.norm_epsilon,
            qkv_bias=self.qkv_bias,
            layers=self.layers,
            kind=kind,
            causal=self.causal,
            dtype=self.dtype,
            parent=None,
        )

    def begin(self, tokens, inputs, positions):
        """Embeds tokens."""
        x = jnp.take(self.token_embedding, tokens, axis=0).astype(self.dtype)
        angles = rotary_angles(positions, self.head_size, self.rotary_base, self.stretch)
        return x, [{} for _ in range(self.layers)], inputs._replace(angles=angles)

    def finish(self, x):
        """Normalises the stream after the last block."""
        return self.norm(x)

    def head_kernel(self) -> Float[Array, "width vocabulary"]:
        """Gives the kernel of the head."""
        return self.token_embedding.T if self.tied else self.head["kernel"]


class LlamaBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), where the MLP is linear2(silu(gate) *
    linear1) (Shazeer 2020, SwiGLU).

    Initial kernels are normal with a deviation of 1 / sqrt of the width, as SmolLM2's, those of
    both projections into the stream smaller by 1 / sqrt of their number, as GPT-2's.
    """

    heads: int
    groups: int
    head_size: int
    hidden: int
    norm_epsilon: float
    qkv_bias: bool
    layers: int
    kind: str = "einsum"
    causal: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length width"], inputs: BlockInputs
    ) -> tuple[Float[Array, "batch length width"], AnyCache | None]:
        width = x.shape[-1]
        deviation = width**-0.5
        small = deviation / (2 * self.layers) ** 0.5

        def dense(features, name, deviation=deviation, bias=False):
            init = nn.initializers.normal(deviation)
            options = {"kernel_init": init, "dot_general": one_row_dot_general}
            return Dense(features, bias, self.dtype, name=name, **options)

        y = RMSNorm(True, self.dtype, self.norm_epsilon, name="norm1")(x)
        query, key, value = (
            dense(heads * self.head_size, name, bias=self.qkv_bias)(y).reshape(
                *y.shape[:2], heads, self.head_size
            )
            for name, heads in (
                ("query", self.heads),
                ("key", self.groups),
                ("value", self.groups),
            )
        )
        y, cache = self._attend(query, key, value, inputs)
        y = dense(width, "out", small)(y.reshape(*x.shape[:2], -1))
        x = x + inputs.dropped(materialize_on_cpu(y), 0)
        y = RMSNorm(True, self.dtype, self.norm_epsilon, name="norm2")(x)
        y = nn.silu(dense(self.hidden, "gate")(y)) * dense(self.hidden, "linear1")(y)
        y = across.constrain(y, across.BATCH, None, MODEL_AXIS, what="numbers inside the MLP")
        y = materialize_on_cpu(dense(width, "linear2", small)(materialize_on_cpu(y)))
        return x + inputs.dropped(y, 1), cache

    def _attend(self, query, key, value, inputs: BlockInputs):
        if inputs.angles is not None:
            query, key = rotate(query, inputs.angles), rotate(key, inputs.angles)
        if inputs.cache is not None:
            return cached_attention(query, key, value, inputs.cache, inputs.start)
        options = {"kind": self.kind, "causal": self.causal, "documents": inputs.documents}
        return attention(query, key, value, **options), None
