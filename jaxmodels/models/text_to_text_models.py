"""The models that write a text to a text, and the options of each."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import require_known
from jaxmodels.models import marian_names, t5_names
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.models.layers.stack import SCANS
from jaxmodels.models.marian import MarianConfig
from jaxmodels.models.options import chosen_options, validate_options
from jaxmodels.models.published import names_of_chosen, table_of
from jaxmodels.models.t5 import T5Config
from jaxmodels.pretrained import Published, Weights
from jaxmodels.roles import Role


@dataclass(frozen=True, kw_only=True)
class TextToTextModels:
    """Models of an encoder and a decoder; `models.encoder_decoder` describes their methods."""

    model: str = "transformer"
    """Architecture: transformer (Vaswani et al. 2017, with what has been changed since), or marian
    or t5, as published."""
    transformer: EncoderDecoderConfig = field(default_factory=EncoderDecoderConfig)
    marian: MarianConfig = field(default_factory=MarianConfig)
    t5: T5Config = field(default_factory=T5Config)
    scan_layers: Annotated[str, Role.BITS] = "auto"
    """Whether equal blocks run as a loop, which compiles faster and runs slower on a CPU: on, off,
    or auto, which means off on a CPU and on elsewhere. Parameters do not depend on it."""

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        require_known("scan_layers", self.scan_layers, SCANS)
        validate_options(self)

    def create(
        self, vocabulary: int, lengths: tuple[int, int], dtype: DTypeLike = jnp.float32
    ) -> nn.Module:
        """Creates the chosen model of a vocabulary.

        lengths: the most tokens of a source and of a target.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        self.validate()
        options = chosen_options(self)
        return options.create(vocabulary, lengths, dtype, scan_layers=self.scan_layers)


PUBLISHED = {"marian": marian_names, "t5": t5_names}  # tables of names, by model


def flags_from_published(weights: Weights) -> dict[str, Any]:
    """Reads published weights as flags: the model and its options.

    Raises:
      InputError: they are of no model of texts to texts here, or of one with other parts.
    """
    return table_of(PUBLISHED, weights, "transformers").flags_from_published(weights)


def published_names(models: TextToTextModels, weights: Weights) -> Published:
    """Makes the table of names of the chosen model for the weights of a file.

    Raises:
      InputError: a model that nobody publishes.
    """
    return names_of_chosen(PUBLISHED, models, weights)
