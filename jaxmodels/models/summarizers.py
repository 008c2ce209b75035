"""The models that write summaries, and the options of each."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import require_known
from jaxmodels.models import language_models, text_to_text_models
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.models.gpt import GPTConfig
from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.models.language_models import LanguageModels
from jaxmodels.models.layers.attention import KINDS
from jaxmodels.models.layers.stack import SCANS
from jaxmodels.models.llama import LlamaConfig
from jaxmodels.models.marian import MarianConfig
from jaxmodels.models.options import validate_options
from jaxmodels.models.pointer_generator import pointer_generator
from jaxmodels.models.published import names_of_chosen, table_of
from jaxmodels.models.t5 import T5Config
from jaxmodels.models.text_to_text_models import TextToTextModels
from jaxmodels.pretrained import Published, Weights
from jaxmodels.roles import Role


@dataclass(frozen=True, kw_only=True)
class Summarizers:
    """Models that write the summary of a document."""

    model: str = "copy"
    """Architecture: copy, an encoder and a decoder that can copy words (See et al. 2017); t5 or
    marian, an encoder and a decoder as published; or a model of the next token: gpt2 or llama, as
    published, or gpt."""
    copy: EncoderDecoderConfig = field(default_factory=EncoderDecoderConfig)
    t5: T5Config = field(default_factory=T5Config)
    marian: MarianConfig = field(default_factory=MarianConfig)
    gpt2: GPT2Config = field(default_factory=GPT2Config)
    gpt: GPTConfig = field(default_factory=GPTConfig)
    llama: LlamaConfig = field(default_factory=LlamaConfig)
    scan_layers: Annotated[str, Role.BITS] = "auto"
    """Whether equal blocks run as a loop, which compiles faster and runs slower on a CPU: on, off,
    or auto, which means off on a CPU and on elsewhere. Parameters do not depend on it."""
    attention: Annotated[str, Role.BITS] = "auto"
    """Implementation of attention of models of the next token: einsum, blocks, cudnn, splash, or
    auto, the fastest that backend and type have."""

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        require_known("scan_layers", self.scan_layers, SCANS)
        require_known("attention", self.attention, ("auto", *KINDS))
        validate_options(self)

    @property
    def rows(self) -> str:
        """The kind of rows that the chosen model is made for: copy, sequence or prompt."""
        kinds = {"copy": "copy", **dict.fromkeys(text_to_text_models.PUBLISHED, "sequence")}
        return kinds.get(self.model, "prompt")

    @property
    def language_models(self) -> LanguageModels:
        """The chosen model of the next token, among those of its kind."""
        names = ("model", "gpt2", "gpt", "llama", "scan_layers", "attention")
        return LanguageModels(**{name: getattr(self, name) for name in names})

    @property
    def text_to_text(self) -> TextToTextModels:
        """The chosen model of an encoder and a decoder, among those of its kind."""
        names = ("model", "t5", "marian", "scan_layers")
        return TextToTextModels(**{name: getattr(self, name) for name in names})

    def create(
        self, vocabulary: int, lengths: tuple[int, int], dtype: DTypeLike = jnp.float32
    ) -> nn.Module:
        """Creates the chosen model of a vocabulary.

        lengths: the most tokens that it reads and writes; a model of the next token reads both.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        self.validate()
        if self.rows == "prompt":
            return self.language_models.create(vocabulary, sum(lengths), dtype)
        if self.rows == "sequence":
            return self.text_to_text.create(vocabulary, lengths, dtype)
        how = {"scan_layers": self.scan_layers}
        return pointer_generator(self.copy, vocabulary, lengths, dtype, **how)


PUBLISHED = {**text_to_text_models.PUBLISHED, **language_models.PUBLISHED}


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads published weights as flags: the model and its options, and the context of one that has
    such a table.

    Raises:
      InputError: they are of no model here, or of one with other parts.
    """
    flags = table_of(PUBLISHED, weights, language_models.EXPECTED).flags_from_published(weights)
    if flags["model"] == "llama":
        del flags["context"]  # rotary positions have no table
    return flags


def published_names(models: Summarizers, weights: Weights) -> Published:
    """Makes the table of names of the chosen model for the weights of a file.

    Raises:
      InputError: a model that nobody publishes.
    """
    return names_of_chosen(PUBLISHED, models, weights)
