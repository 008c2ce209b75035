"""The classifiers of texts, and the options of each."""

from dataclasses import dataclass, field
from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import require_known
from jaxmodels.models.bag import BagConfig, Ratios
from jaxmodels.models.bert import BertConfig
from jaxmodels.models.bilstm import BiLSTMConfig
from jaxmodels.models.layers.stack import SCANS
from jaxmodels.models.options import chosen_options, validate_options
from jaxmodels.models.word_average import WordAverageConfig
from jaxmodels.models.word_cnn import WordCNNConfig
from jaxmodels.roles import Role


@dataclass(frozen=True, kw_only=True)
class TextModels:
    """Classifiers of texts, which are called with a `TextInput`."""

    model: str = "lstm"
    """Architecture: bag (naive Bayes ratios of phrases and pieces), average (of word vectors), cnn
    (Kim 2014), lstm (both directions), transformer (BERT's from scratch, small), or bert (of
    published sizes)."""
    bag: BagConfig = field(default_factory=BagConfig)
    average: WordAverageConfig = field(default_factory=WordAverageConfig)
    cnn: WordCNNConfig = field(default_factory=WordCNNConfig)
    lstm: BiLSTMConfig = field(default_factory=BiLSTMConfig)
    transformer: BertConfig = field(default_factory=lambda: BertConfig(pool="mean", deviation=0.08))
    bert: BertConfig = field(default_factory=lambda: BertConfig(variant="base"))
    scan_layers: Annotated[str, Role.BITS] = "auto"
    """Whether the blocks of a transformer run as a loop, which compiles faster and runs slower on a
    CPU: on, off, or auto, which means off on a CPU and on elsewhere."""

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        require_known("scan_layers", self.scan_layers, SCANS)
        validate_options(self)

    @property
    def tokens(self) -> str:
        """The kind of tokens that the chosen model is made for."""
        return "pieces" if self.model == "bag" else "words"

    def create(
        self,
        classes: int,
        vocabulary: int,
        dtype: DTypeLike = jnp.float32,
        ratios: Ratios | None = None,
    ) -> nn.Module:
        """Creates the chosen model of a vocabulary.

        ratios: those of naive Bayes, for the bag.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        self.validate()
        options = chosen_options(self)
        if isinstance(options, BertConfig):
            return options.create(classes, vocabulary, dtype, scan_layers=self.scan_layers)
        if isinstance(options, BagConfig):
            return options.create(classes, vocabulary, dtype, ratios)
        return options.create(classes, vocabulary, dtype)
