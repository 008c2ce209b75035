"""BERT as published (Devlin et al. 2019), which is RoBERTa too (Liu et al. 2019), as an encoder of
texts and as a classifier of them.

The names of the published weights are in `bert_names`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, DTypeLike, Float, Int, Key

from jaxmodels import across
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.bert_block import BertBlock
from jaxmodels.models.layers import Dense, Dropout, LayerNorm, Rate
from jaxmodels.models.layers.stack import LATE, BlockInputs, is_scanned, run_blocks
from jaxmodels.models.options import require_at_least
from jaxmodels.models.text_inputs import TextInput, masked_mean
from jaxmodels.ops import example_seeds
from jaxmodels.protocol import MODEL_AXIS, PyTree, Sharding, ShardingRule

VARIANTS = {
    # Devlin et al. 2019, section 3: 110 and 340 million parameters with 30,522 words.
    "base": {"layers": 12, "width": 768, "heads": 12, "hidden": 3072},
    "large": {"layers": 24, "width": 1024, "heads": 16, "hidden": 4096},
    # Wang et al. 2020, MiniLM, every second of its twelve layers: 23 million.
    "minilm": {"layers": 6, "width": 384, "heads": 12, "hidden": 1536},
    # Turc et al. 2019, Well-Read Students Learn Better: 4 million.
    "tiny": {"layers": 2, "width": 128, "heads": 2, "hidden": 512},
}
# As Shoeybi et al. 2019, Megatron-LM, section 3: the first kernels of attention and MLP are divided
# by outputs, the second ones by inputs, so that a block adds over devices twice.
SHARDING = Sharding(
    (
        ShardingRule(r"(^|/)(query|key|value|linear1)/kernel$", (None, MODEL_AXIS)),
        ShardingRule(r"(^|/)(query|key|value|linear1)/bias$", (MODEL_AXIS,)),
        ShardingRule(r"(^|/)(out|linear2)/kernel$", (MODEL_AXIS, None)),
    ),
    LATE,
)

POOLS = ("first", "mean")
_ROBERTA_OFFSET = 2  # its positions count from the number of the padding token, 1, plus 1


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """Options of BERT."""

    variant: str = "tiny"
    """Size: base, large (Devlin et al. 2019), minilm (6 layers; Wang et al. 2020) or tiny (Turc et
    al. 2019)."""
    layers: int = 0
    """Blocks; 0: the variant's own."""
    width: int = 0
    """Width of the stream; 0: the variant's own."""
    heads: int = 0
    """Attention heads; 0: the variant's own."""
    hidden: int = 0
    """Width inside the MLP; 0: the variant's own."""
    token_rows: int = 0
    """Rows of the table of tokens; 0: as many as the tokenizer has. Some published ones have
    more."""
    positions: int = 512
    """Rows of the table of positions: the most tokens of a text; RoBERTa's has two more."""
    segments: int = 2
    """Rows of the table of segments: 2 for pairs of texts; RoBERTa has 1."""
    norm_epsilon: float = 1e-12
    """What is added to variances; RoBERTa has 1e-5."""
    roberta: bool = False
    """Positions and published names are those of RoBERTa (Liu et al. 2019)."""
    pool: str = "first"
    """Input of the head: first, of the first token, through a layer with tanh, as published; or
    mean, over all tokens, as sentence-transformers are trained (Reimers & Gurevych 2019)."""
    deviation: float = 0.02
    """Standard deviation of initial kernels and embeddings, as published; a small network from
    scratch learns sooner with 1 / sqrt(width)."""
    attention_dropout: bool = True
    """With --dropout, attention weights are dropped too, as published."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, a size out of range, or heads that do not divide
        the width."""
        require_known("variant", self.variant, VARIANTS)
        require_known("pool", self.pool, POOLS)
        require_at_least(0, self, "layers", "width", "heads", "hidden", "token_rows")
        require_at_least(0, self, "deviation", "norm_epsilon")
        require_at_least(1, self, "positions", "segments")
        width, heads = self.sizes()["width"], self.sizes()["heads"]
        if width % heads:
            raise InputError(f"width = {width}; expected a multiple of heads = {heads}: --heads N")

    def sizes(self) -> dict[str, int]:
        """Returns layers, width, heads and hidden."""
        names = ("layers", "width", "heads", "hidden")
        own = {name: getattr(self, name) for name in names}
        return VARIANTS[self.variant] | {name: size for name, size in own.items() if size}

    def encoder(
        self,
        vocabulary: int,
        dtype: DTypeLike = jnp.float32,
        *,
        scan_layers: str = "auto",
        pooler: bool = True,
    ) -> "Bert":
        """Creates the encoder. scan_layers: as in `run_blocks`.

        Raises:
          InputError: fewer rows of tokens than the tokenizer has.
        """
        self.validate()
        rows = self.token_rows or vocabulary
        if rows < vocabulary:
            raise InputError(f"token_rows = {rows}; expected the tokenizer's {vocabulary}, or more")
        options: dict[str, Any] = {**self.sizes(), "scan_layers": scan_layers}
        return Bert(
            vocabulary=rows,
            positions=self.positions,
            segments=self.segments,
            position_offset=_ROBERTA_OFFSET if self.roberta else 0,
            epsilon=self.norm_epsilon,
            deviation=self.deviation,
            attention_dropout=self.attention_dropout,
            pooler=pooler,
            dtype=dtype,
            **options,
        )

    def create(
        self,
        classes: int,
        vocabulary: int,
        dtype: DTypeLike = jnp.float32,
        *,
        scan_layers: str = "auto",
    ) -> "BertClassifier":
        """Creates the classifier; the keywords are those of `TextModels`."""
        options = {"scan_layers": scan_layers, "pooler": self.pool == "first"}
        encoder = self.encoder(vocabulary, dtype, **options)
        return BertClassifier(classes=classes, bert=encoder, dtype=dtype)


class Bert(nn.Module):
    """The encoder: token, position and segment embeddings, normalised; blocks that are normalised
    last; and with `pooler` a layer with tanh on the first token.

    Parameters are float32, activations are `dtype`.

    positions: rows of the table of positions, of which the first `position_offset` are not used.
    """

    sharding: ClassVar[Sharding] = SHARDING

    vocabulary: int
    layers: int = 12
    width: int = 768
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    segments: int = 2
    position_offset: int = 0
    epsilon: float = 1e-12
    deviation: float = 0.02
    attention_dropout: bool = True
    pooler: bool = True
    dtype: DTypeLike = jnp.float32
    scan_layers: str = "auto"

    def setup(self):
        self.token_embedding = self._table("token_embedding", self.vocabulary)
        self.position_embedding = self._table("position_embedding", self.positions)
        self.segment_embedding = self._table("segment_embedding", self.segments)
        self.norm = LayerNorm(self.epsilon, self.dtype)
        self.block_params = [
            self.param(f"block_{index}", self._block_parameters) for index in range(self.layers)
        ]
        if self.pooler:
            init = nn.initializers.normal(self.deviation)
            self.pool = Dense(self.width, dtype=self.dtype, kernel_init=init)

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        *,
        segments: Int[Array, "batch length"] | None = None,
        valid: Bool[Array, "batch length"] | None = None,
        train: bool = False,
        dropout_rate: Rate = None,
    ) -> Float[Array, "batch length width"]:
        """Computes the stream after the last block.

        segments: the number of each token's text in a pair; None: all are of the first.
        valid: the tokens that are there; the others are padding, behind them, which changes
          nothing at the valid ones. None: all are there.

        Raises:
          InputError: more tokens than positions.
        """
        length, most = tokens.shape[1], self.positions - self.position_offset
        if length > most:
            raise InputError(f"{length} tokens; expected at most {most}: a smaller --length")
        inputs = BlockInputs(valid=valid)
        if train and dropout_rate is not None:
            seeds = example_seeds(self.make_rng("dropout"), across.positions(len(tokens)))
            inputs = inputs._replace(seeds=seeds, rate=dropout_rate)
        x = jnp.take(self.token_embedding, tokens, axis=0)
        if segments is None:
            x = x + self.segment_embedding[0]
        else:
            x = x + jnp.take(self.segment_embedding, segments, axis=0)
        x = x + self.position_embedding[self.position_offset :][:length]
        x = inputs._replace(layer=self.layers).dropped(self.norm(x), 0)
        own = [{"layer": jnp.int32(index)} for index in range(self.layers)]
        blocks = [self._block()] * self.layers
        how: dict[str, Any] = {"scan": is_scanned(self.scan_layers)}
        x, _ = run_blocks(blocks, self.block_params, own, x, inputs, **how)
        if self.pooler and self.is_initializing():
            self.pooled(x)
        return x

    def pooled(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch width"]:
        """Computes the layer with tanh of the first token, from the stream after the last block."""
        return jnp.tanh(self.pool(x[:, 0]))

    def _table(self, name: str, rows: int) -> Float[Array, "rows width"]:
        init = nn.initializers.normal(self.deviation)
        shape = rows, self.width
        return self.param(name, lambda key: {"embedding": init(key, shape)})["embedding"]

    def _block(self) -> BertBlock:
        sizes = self.heads, self.hidden, self.epsilon, self.deviation
        return BertBlock(*sizes, self.attention_dropout, self.dtype, parent=None)

    def _block_parameters(self, key: Key[Array, ""]) -> PyTree:
        example = jnp.zeros((1, 1, self.width), self.dtype)
        return self._block().init(key, example, BlockInputs())["params"]


class BertClassifier(nn.Module):
    """BERT with a linear head (Devlin et al. 2019, section 4.1), on the pooled first token, or on
    the mean over tokens where the encoder has no pooler."""

    sharding: ClassVar[Sharding] = SHARDING

    classes: int
    bert: Bert
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        text: TextInput,
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch *outputs"]:
        """Gives the logits of the classes, or without the head its input."""
        options = {"valid": text.valid, "train": train, "dropout_rate": dropout_rate}
        segments = jnp.minimum(text.segments, self.bert.segments - 1)
        x = self.reduced(self.bert(text.ids, segments=segments, **options), text)
        if head:
            x = Dropout()(x.astype(self.dtype), rate=dropout_rate, train=train)
            init = nn.initializers.normal(self.bert.deviation)
            x = Dense(self.classes, dtype=self.dtype, kernel_init=init, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def reduced(
        self, x: Float[Array, "batch length width"], text: TextInput
    ) -> Float[Array, "batch *features"]:
        """Gives the input of the head, from the stream after the last block."""
        return self.bert.pooled(x) if self.bert.pooler else masked_mean(x, text.valid)

    def features(self, text: TextInput) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(text, head=False)
