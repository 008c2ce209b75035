"""The classifiers of spectrograms, and the options of each."""

from dataclasses import dataclass, field

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.models.bcresnet import BCResNetConfig
from jaxmodels.models.kwt import KWTConfig
from jaxmodels.models.options import chosen_options, validate_options


@dataclass(frozen=True, kw_only=True)
class SoundModels:
    """Classifiers of spectrograms, [batch, frames, bands]."""

    model: str = "bcresnet"
    """Architecture: bcresnet (Kim et al. 2021) or kwt, the keyword transformer (Berg et al. 2021).
    """
    bcresnet: BCResNetConfig = field(default_factory=BCResNetConfig)
    kwt: KWTConfig = field(default_factory=KWTConfig)

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        validate_options(self)

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
        """Creates the chosen classifier.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        return chosen_options(self).create(classes, dtype)
