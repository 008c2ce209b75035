"""The taggers of words, which classify each token of a text, and the options of each."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.bert import BertClassifier, BertConfig
from jaxmodels.models.bilstm import EACH, BiLSTM, BiLSTMConfig
from jaxmodels.models.layers.stack import SCANS
from jaxmodels.models.options import chosen_options, validate_options
from jaxmodels.models.text_inputs import TextInput
from jaxmodels.roles import Role


@dataclass(frozen=True, kw_only=True)
class TaggerModels:
    """Taggers of words, which map a `TextInput` to logits at each token."""

    model: str = "transformer"
    """Architecture: lstm (both directions), transformer (BERT's from scratch, small), or bert (of
    published sizes)."""
    lstm: BiLSTMConfig = field(default_factory=BiLSTMConfig)
    transformer: BertConfig = field(default_factory=lambda: BertConfig(deviation=0.08))
    bert: BertConfig = field(default_factory=lambda: BertConfig(variant="base"))
    scan_layers: Annotated[str, Role.BITS] = "auto"
    """Whether the blocks of a transformer run as a loop, which compiles faster and runs slower on a
    CPU: on, off, or auto, which means off on a CPU and on elsewhere."""

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        require_known("scan_layers", self.scan_layers, SCANS)
        validate_options(self)
        options = chosen_options(self)
        if options.pool != type(options)().pool:
            raise InputError(f"pool = {options.pool}; each word has its tag: leave it out")

    @property
    def positions(self) -> int:
        """The most tokens of a text."""
        options = chosen_options(self)
        if not isinstance(options, BertConfig):
            return 2**31 - 1
        return options.positions - (2 if options.roberta else 0)

    def create(self, tags: int, vocabulary: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
        """Creates the chosen model of a vocabulary.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        self.validate()
        options = chosen_options(self)
        if isinstance(options, BiLSTMConfig):
            sizes = options.width, options.hidden, options.layers
            return BiLSTM(tags, vocabulary, *sizes, EACH, dtype)
        how: dict[str, Any] = {"scan_layers": self.scan_layers}
        encoder = options.encoder(vocabulary, dtype, pooler=False, **how)
        return BertTagger(classes=tags, bert=encoder, dtype=dtype)


class BertTagger(BertClassifier):
    """BERT with a linear head on each token (Devlin et al. 2019, section 5.3)."""

    def reduced(
        self, x: Float[Array, "batch length width"], text: TextInput
    ) -> Float[Array, "batch length width"]:
        """Gives the stream of each token as it is."""
        return x
