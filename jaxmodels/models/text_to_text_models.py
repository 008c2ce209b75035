"""The models that write a text to a text, and the options of each."""

from dataclasses import dataclass, field
from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import require_known
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.models.layers.stack import REMATS, SCANS
from jaxmodels.models.options import chosen_options
from jaxmodels.roles import Role


@dataclass(frozen=True, kw_only=True)
class TextToTextModels:
    """Models of an encoder and a decoder; `models.encoder_decoder` describes their methods."""

    model: str = "transformer"
    """Architecture: transformer (Vaswani et al. 2017, with what has been changed since)."""
    transformer: EncoderDecoderConfig = field(default_factory=EncoderDecoderConfig)
    remat: Annotated[str, Role.BITS] = "none"
    """What the gradient computes again to save memory: none; block, all but the products with
    kernels; full, all of each block but its input."""
    scan_layers: Annotated[str, Role.BITS] = "auto"
    """Whether equal blocks run as a loop, which compiles faster and runs slower on a CPU: on, off,
    or auto, which means off on a CPU and on elsewhere. Parameters do not depend on it."""

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        require_known("remat", self.remat, REMATS)
        require_known("scan_layers", self.scan_layers, SCANS)
        chosen_options(self).validate()

    def create(
        self, vocabulary: int, lengths: tuple[int, int], dtype: DTypeLike = jnp.float32
    ) -> nn.Module:
        """Creates the chosen model of a vocabulary.

        lengths: the most tokens of a source and of a target.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        self.validate()
        how = {"remat": self.remat, "scan_layers": self.scan_layers}
        return chosen_options(self).create(vocabulary, lengths, dtype, **how)
