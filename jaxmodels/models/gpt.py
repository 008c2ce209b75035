"""A GPT with what has proved itself since GPT-2; each part is an option with its source.

The sources named modded-nanogpt and nanochat are github.com/KellerJordan/modded-nanogpt (its file
train_gpt_simple.py) and github.com/karpathy/nanochat at 92d63d4 (nanochat/gpt.py).
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Key

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.causal_model import CausalModel
from jaxmodels.models.gpt_block import MLPS, GPTBlock, RMSNorm, uniform
from jaxmodels.models.layers.rotary import rotary_angles
from jaxmodels.models.layers.stack import BY_WORDS, LATE, BlockInputs
from jaxmodels.models.options import require_at_least
from jaxmodels.protocol import MODEL_AXIS, Sharding, ShardingRule

_SHARPNESS = 1.44  # of attention with QK-norm: nanochat's 1.2 for queries times 1.2 for keys

# As Shoeybi et al. 2019, Megatron-LM, section 3: the first kernels of attention and MLP are divided
# by outputs, the second ones by inputs, so that a block adds over devices twice.
SHARDING = Sharding(
    (
        ShardingRule(r"(^|/)(query|key|value|linear1|gate)/kernel$", (None, MODEL_AXIS)),
        ShardingRule(r"(^|/)(out|linear2)/kernel$", (MODEL_AXIS, None)),
        *BY_WORDS,
    ),
    LATE,
)


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Options of the GPT. `depth` alone sizes it, as in nanochat."""

    depth: int = 4
    """Blocks; the width follows from it."""
    aspect: int = 64
    """Width per block (nanochat; Kaplan et al. 2020, section 3.1, find its effect to be small)."""
    head_size: int = 128
    """Numbers of a head (nanochat's and modded-nanogpt's 128 beat 64)."""
    width: int = 0
    """Width of the residual stream; 0: depth * aspect, up to a multiple of head_size."""
    key_value_heads: int = 0
    """Heads of keys and values, each shared by several of queries (Ainslie et al. 2023, GQA); 0: as
    many as of queries."""
    mlp: str = "relu2"
    """relu2 (So et al. 2021, Primer), swiglu (Shazeer 2020), or gelu (Hendrycks & Gimpel 2016)."""
    hidden: int = 0
    """Width inside the MLP; 0: 4 * width, or 8/3 * width, up to a multiple of 8, with swiglu, which
    has three kernels (Shazeer 2020, section 3.1)."""
    rotary_base: float = 10_000.0
    """Base of the wavelengths of rotary positions (Su et al. 2021); nanochat has 100,000 for 2,048
    tokens, modded-nanogpt 1,024."""
    rotary_fraction: float = 1.0
    """Share of each head that is rotated (GPT-NeoX, Black et al. 2022: 0.25; modded-nanogpt:
    0.5)."""
    qk_norm: bool = True
    """RMSNorm of queries and keys (Dehghani et al. 2023, ViT-22B; Henry et al. 2020), after
    rotation as in nanochat."""
    attention_scale: float = 0.0
    """Factor of attention scores beside 1 / sqrt(head_size); 0: 1.44 with QK-norm (nanochat), else
    1. modded-nanogpt's scale of 0.12 is 1.36 here."""
    norm_scale: bool = False
    """Learnt scales in RMSNorm (Zhang & Sennrich 2019); nanochat and modded-nanogpt have none."""
    value_embeddings: bool = True
    """Tables of embeddings that are added to the values of every second block, the last included,
    by a gate per head (Zhou et al. 2024, value residual learning; modded-nanogpt; gates:
    nanochat)."""
    residual_scales: bool = True
    """Learnt factors of the stream and of the first embedding before each block (modded-nanogpt;
    initial values: nanochat)."""
    window_pattern: str = "L"
    """Attention of the blocks in turn: S sees a quarter of the context, L all; the last block is
    always L (Beltagy et al. 2020; nanochat: SSSL)."""
    logit_cap: float = 15.0
    """Smooth bound of the logits (Gemma Team 2024, Gemma 2; form: modded-nanogpt); 0: none."""
    zero_init: bool = True
    """The projections back into the stream start as zeros, so that each block starts as the
    identity (Zhang et al. 2019, Fixup; Yang et al. 2022, muP; modded-nanogpt)."""
    tied: bool = False
    """The head is the transposed table of embeddings (Press & Wolf 2017), which then starts with
    GPT-2's deviation of 0.02."""

    def validate(self) -> None:
        """Raises InputError for an unknown name or sizes that do not go together."""
        require_known("mlp", self.mlp, MLPS)
        require_at_least(1, self, "depth", "aspect", "head_size")
        require_at_least(0, self, "width", "key_value_heads", "hidden", "logit_cap")
        require_at_least(0, self, "attention_scale")
        width, heads = self._width(), self._width() // self.head_size
        if width % self.head_size:
            raise InputError(
                f"width = {width}; expected a multiple of head_size = {self.head_size}:"
                " --head-size N"
            )
        if self.key_value_heads and heads % self.key_value_heads:
            raise InputError(
                f"key_value_heads = {self.key_value_heads}; expected a divisor of the {heads} heads"
                f" of width {width} and head_size {self.head_size}"
            )
        if self.rotary_base <= 1 or not 0 <= self.rotary_fraction <= 1:
            raise InputError(
                f"rotary_base = {self.rotary_base}, rotary_fraction = {self.rotary_fraction};"
                " expected a base above 1 and a fraction from 0 to 1"
            )
        if not self.window_pattern or set(self.window_pattern) - set("SL"):
            raise InputError(
                f"window_pattern = '{self.window_pattern}'; expected letters S and L, as SSSL"
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
    ) -> "GPT":
        """Creates the model; the keywords are those of `LanguageModels`."""
        self.validate()
        if not causal and "S" in self.window_pattern:
            raise InputError(
                f"window_pattern = '{self.window_pattern}'; expected L where attention is not"
                " causal: --window-pattern L"
            )
        own: dict[str, Any] = asdict(self)
        width = self._width()
        heads = width // own.pop("head_size")
        layers, _ = own.pop("depth"), own.pop("aspect")
        own |= {
            "width": width,
            "hidden": self.hidden or (-(-width // 3) * 8 if self.mlp == "swiglu" else 4 * width),
            "key_value_heads": self.key_value_heads or heads,
            "attention_scale": self.attention_scale or (_SHARPNESS if self.qk_norm else 1.0),
        }
        how: dict[str, Any] = {"scan_layers": scan_layers, "attention": attention}
        return GPT(
            vocabulary=vocabulary,
            context=context,
            dtype=dtype,
            layers=layers,
            heads=heads,
            causal=causal,
            **own,
            **how,
        )

    def _width(self) -> int:
        own = -(-self.depth * self.aspect // self.head_size) * self.head_size
        return self.width or own


class GPT(CausalModel):
    """A transformer with the options of `GPTConfig`. Its linear layers have no biases.

    The embedding is normalised before the first block and the stream after the last. Dropout acts
    on the embedding and on what each block adds.
    """

    sharding: ClassVar[Sharding] = SHARDING

    layers: int = 4
    width: int = 256
    heads: int = 2
    key_value_heads: int = 2
    mlp: str = "relu2"
    hidden: int = 1024
    rotary_base: float = 10_000.0
    rotary_fraction: float = 1.0
    qk_norm: bool = True
    attention_scale: float = 1.0
    norm_scale: bool = False
    value_embeddings: bool = True
    residual_scales: bool = True
    window_pattern: str = "L"
    logit_cap: float = 15.0
    zero_init: bool = True

    def setup(self):
        # A tied table is the head too: with nanochat's 0.8 its first logits would be at their cap.
        deviation = 0.02 if self.tied else 0.8
        self.token_embedding = self.embedding(
            "token_embedding", nn.initializers.normal(deviation), self.vocabulary
        )
        self.value_tables = {
            index: self.param(f"value_embedding_{index}", self._value_table)["embedding"]
            for index in range(self.layers)
            if self.has_value_embedding(index)
        }
        self.block_params = self.blocks_of_parameters()
        self.norm = RMSNorm(self.norm_scale, self.dtype)
        self.embedding_norm = RMSNorm(self.norm_scale, self.dtype)
        if not self.tied:
            init = nn.initializers.normal(0.001)
            shape = self.width, self.vocabulary
            self.head = self.param("head", lambda key: {"kernel": init(key, shape)})

    @property
    def head_size(self) -> int:
        """The numbers of one head."""
        return self.width // self.heads

    @property
    def groups(self) -> int:
        """The number of heads of keys and values."""
        return self.key_value_heads

    def has_value_embedding(self, index: int) -> bool:
        """Says whether block number `index` has a table of value embeddings."""
        return self.value_embeddings and (self.layers - 1 - index) % 2 == 0

    def window(self, index: int) -> int:
        """Gives the window of block number `index`, itself included; 0: all."""
        letter = self.window_pattern[index % len(self.window_pattern)]
        return 0 if letter == "L" or index == self.layers - 1 else -(-self.context // 4)

    def block(self, index: int, kind: str) -> GPTBlock:
        """Makes block number `index`."""
        return GPTBlock(
            heads=self.heads,
            groups=self.key_value_heads,
            mlp=self.mlp,
            hidden=self.hidden,
            qk_norm=self.qk_norm,
            scale=self.attention_scale * self.head_size**-0.5,
            norm_scale=self.norm_scale,
            residual_scales=self.residual_scales,
            window=self.window(index),
            out_deviation=0.0 if self.zero_init else (2 * self.layers) ** -0.5,
            kind=kind,
            causal=self.causal,
            dtype=self.dtype,
            parent=None,
        )

    def block_parameters(self, index: int, key: Key[Array, ""]):
        """Makes the parameters of block number `index`: the factors of the stream fall with it."""
        params = super().block_parameters(index, key)
        if self.residual_scales:
            share = index / max(self.layers - 1, 1)
            params["stream_scale"] = jnp.float32(1.15 - 0.10 * share)
            params["embedding_scale"] = jnp.float32(0.20 - 0.15 * share)
        return params

    def example_inputs(self, index: int) -> tuple[Array, BlockInputs]:
        """Makes inputs of block number `index`, of one token."""
        x, inputs = super().example_inputs(index)
        angles = rotary_angles(jnp.zeros(1, jnp.int32), self._rotated(), self.rotary_base)
        inputs = inputs._replace(angles=angles, first=x)
        if self.has_value_embedding(index):
            value = jnp.zeros((1, 1, self.groups, self.head_size), self.dtype)
            inputs = inputs._replace(value=value)
        return x, inputs

    def begin(self, tokens, inputs, positions):
        """Embeds tokens, and gives each block its value embeddings."""
        x = jnp.take(self.token_embedding, tokens, axis=0).astype(self.dtype)
        x = self.embedding_norm(x)
        own = [{} for _ in range(self.layers)]
        for index, table in self.value_tables.items():
            value = jnp.take(table, tokens, axis=0).astype(self.dtype)
            own[index]["value"] = value.reshape(*tokens.shape, self.groups, self.head_size)
        angles = rotary_angles(positions, self._rotated(), self.rotary_base)
        return x, own, inputs._replace(angles=angles, first=x)

    def finish(self, x):
        """Normalises the stream after the last block."""
        return self.norm(x)

    def head_kernel(self) -> Float[Array, "width vocabulary"]:
        """Gives the kernel of the head."""
        return self.token_embedding.T if self.tied else self.head["kernel"]

    def _rotated(self) -> int:
        return int(self.rotary_fraction * self.head_size / 2) * 2

    def _value_table(self, key):
        shape = self.vocabulary, self.groups * self.head_size
        return {"embedding": uniform(key, shape, self.width**-0.5)}
