"""The models that write summaries, and the options of each."""

from dataclasses import dataclass, field
from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import require_known
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.models.gpt import GPTConfig
from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.models.language_models import LanguageModels
from jaxmodels.models.layers.attention import KINDS
from jaxmodels.models.layers.stack import SCANS
from jaxmodels.models.llama import LlamaConfig
from jaxmodels.models.options import chosen_options
from jaxmodels.models.pointer_generator import pointer_generator
from jaxmodels.roles import Role


@dataclass(frozen=True, kw_only=True)
class Summarizers:
    """Models that write the summary of a document."""

    model: str = "copy"
    """Architecture: copy, an encoder and a decoder that can copy words (See et al. 2017), or a
    model of the next token: gpt2 or llama, as published, or gpt."""
    copy: EncoderDecoderConfig = field(default_factory=EncoderDecoderConfig)
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
        chosen_options(self).validate()

    @property
    def tokens(self) -> str:
        """The kind of tokens that the chosen model is made for."""
        return "words" if self.model == "copy" else "file"

    @property
    def language_models(self) -> LanguageModels:
        """The chosen model of the next token, among those of its kind."""
        names = ("model", "gpt2", "gpt", "llama", "scan_layers", "attention")
        return LanguageModels(**{name: getattr(self, name) for name in names})

    def create(
        self, vocabulary: int, lengths: tuple[int, int], dtype: DTypeLike = jnp.float32
    ) -> nn.Module:
        """Creates the chosen model of a vocabulary.

        lengths: the most tokens that it reads and writes; a model of the next token reads both.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        self.validate()
        if self.model != "copy":
            return self.language_models.create(vocabulary, sum(lengths), dtype)
        how = {"scan_layers": self.scan_layers}
        return pointer_generator(self.copy, vocabulary, lengths, dtype, **how)
