"""The models of the next token or of masked tokens, and the options of each."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import InputError, require_known
from jaxmodels.models import gpt2_names, llama_names
from jaxmodels.models.gpt import GPTConfig
from jaxmodels.models.gpt2 import GPT2Config
from jaxmodels.models.layers.attention import KINDS
from jaxmodels.models.layers.stack import SCANS
from jaxmodels.models.llama import LlamaConfig
from jaxmodels.models.options import chosen_options, validate_options, with_options
from jaxmodels.models.published import names_of_chosen, table_of
from jaxmodels.pretrained import Published, Weights
from jaxmodels.roles import Role


@dataclass(frozen=True, kw_only=True)
class LanguageModels:
    """Models of the next token; `models.causal_model` describes their methods."""

    model: str = "gpt"
    """Architecture: gpt2 or llama (Llama, SmolLM2, Qwen2), as published, or gpt, with what has
    proved itself since."""
    gpt2: GPT2Config = field(default_factory=GPT2Config)
    gpt: GPTConfig = field(default_factory=GPTConfig)
    llama: LlamaConfig = field(default_factory=LlamaConfig)
    scan_layers: Annotated[str, Role.BITS] = "auto"
    """Whether equal blocks run as a loop, which compiles faster and runs slower on a CPU: on, off,
    or auto, which means off on a CPU and on elsewhere. Parameters do not depend on it."""
    attention: Annotated[str, Role.BITS] = "auto"
    """Implementation of attention: einsum, blocks, cudnn, splash, or auto, the fastest that backend
    and type have."""

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        require_known("scan_layers", self.scan_layers, SCANS)
        require_known("attention", self.attention, ("auto", *KINDS))
        validate_options(self)

    def of_width(self, width: int) -> "LanguageModels":
        """Replaces the width of the chosen model, with heads of the same size.

        Raises:
          InputError: a width that its heads do not divide.
        """
        options = {"width": width}
        if self.model == "llama":
            options = self.llama.of_width(width)
        if self.model == "gpt2":
            own = self.gpt2.sizes()
            size = own["width"] // own["heads"]
            if width % size:
                raise InputError(f"width = {width}; expected a multiple of the heads' size {size}")
            options["heads"] = width // size
        return with_options(self, **options)

    def create(
        self,
        vocabulary: int,
        context: int,
        dtype: DTypeLike = jnp.float32,
        *,
        causal: bool = True,
    ) -> nn.Module:
        """Creates the chosen model of a vocabulary, for windows of `context` tokens.

        causal: a token sees itself and those before; otherwise all.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        self.validate()
        return chosen_options(self).create(
            vocabulary,
            context,
            dtype,
            scan_layers=self.scan_layers,
            attention=self.attention,
            causal=causal,
        )


PUBLISHED = {"gpt2": gpt2_names, "llama": llama_names}  # tables of names, by model
EXPECTED = "transformers, or a GGUF file of Llama or Qwen2"


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads published weights as flags: the model, its options, and the context that it was made
    for.

    Raises:
      InputError: they are of no language model here, or of one with other parts.
    """
    return table_of(PUBLISHED, weights, EXPECTED).flags_from_published(weights)


def published_names(models: LanguageModels, weights: Weights) -> Published:
    """Makes the table of names of the chosen model for the weights of a file.

    Raises:
      InputError: a model that nobody publishes.
    """
    return names_of_chosen(PUBLISHED, models, weights)


def create_language_model(
    name: str,
    vocabulary: int,
    context: int,
    dtype: DTypeLike = jnp.float32,
    *,
    causal: bool = True,
    **options: Any,
) -> nn.Module:
    """Creates the named model with options of its Config; causal: as in `LanguageModels.create`.

    Raises:
      InputError: an unknown name, or an option that the model does not have.
    """
    models = with_options(LanguageModels(model=name), **options)
    return models.create(vocabulary, context, dtype, causal=causal)
