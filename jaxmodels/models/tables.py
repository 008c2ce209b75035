"""The models of tables, and the options of each."""

from dataclasses import dataclass, field

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.models.mlp import MLPConfig
from jaxmodels.models.options import chosen_options, validate_options


@dataclass(frozen=True, kw_only=True)
class TableModels:
    """Models from the numbers of a row to a number, or to logits."""

    model: str = "mlp"
    """Architecture: mlp."""
    mlp: MLPConfig = field(default_factory=lambda: MLPConfig(hidden=(128, 128)))

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        validate_options(self)

    def create(self, outputs: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
        """Creates the chosen model.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        return chosen_options(self).create(outputs, dtype)
