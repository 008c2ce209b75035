"""The latent-variable models of images, and the options of each."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.models.gan_layers import Shape
from jaxmodels.models.ladder import LadderVAEConfig
from jaxmodels.models.options import chosen_options, validate_options, with_options
from jaxmodels.models.vae import ConvVAEConfig, MLPVAEConfig
from jaxmodels.models.vqvae import VQVAEConfig


@dataclass(frozen=True, kw_only=True)
class VAEModels:
    """Latent-variable models of images, with the methods that `jaxmodels.ops.latents` describes."""

    model: str = "conv"
    """Network: mlp, conv, ladder (hierarchical) or vqvae (codebook and autoregressive prior)."""
    mlp: MLPVAEConfig = field(default_factory=MLPVAEConfig)
    conv: ConvVAEConfig = field(default_factory=ConvVAEConfig)
    ladder: LadderVAEConfig = field(default_factory=LadderVAEConfig)
    vqvae: VQVAEConfig = field(default_factory=VQVAEConfig)

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        validate_options(self)

    def create(
        self, shape: Shape, parameters: int, classes: int = 0, dtype: DTypeLike = jnp.float32
    ) -> nn.Module:
        """Creates the chosen model of images of a shape.

        parameters: the numbers per pixel of p(x|z).
        classes: the number of labels that encoder and decoder take; 0: they take none.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        return chosen_options(self).create(shape, parameters, classes, dtype)


def create_vae(
    name: str,
    shape: Shape,
    parameters: int,
    classes: int = 0,
    dtype: DTypeLike = jnp.float32,
    **options: Any,
) -> nn.Module:
    """Creates the named latent-variable model with options of its Config.

    Raises:
      InputError: an unknown name, or an option that the model does not have.
    """
    models = with_options(VAEModels(model=name), **options)
    return models.create(shape, parameters, classes, dtype)
