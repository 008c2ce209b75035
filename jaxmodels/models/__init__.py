"""Flax Linen modules: array in, array out.

A new architecture is one file, with its module and its Config, and one field here. `model` names
the architecture that is created; every other field has the options of one architecture.
"""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.cnn import CNNConfig
from jaxmodels.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxmodels.models.gan_layers import NORMS, Shape
from jaxmodels.models.ladder import LadderVAEConfig
from jaxmodels.models.mlp import MLPConfig
from jaxmodels.models.options import chosen_options, require_at_least, with_options
from jaxmodels.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.models.sngan import SNGANDiscriminator, SNGANGenerator
from jaxmodels.models.vae import ConvVAEConfig, MLPVAEConfig
from jaxmodels.models.vit import ViTConfig
from jaxmodels.models.vqvae import VQVAEConfig


@dataclass(frozen=True, kw_only=True)
class ClassifierModels:
    """Classifiers of images. Each has a method `features`: what its head sees."""

    model: str = "cnn"
    """Architecture: mlp, cnn, resnet or vit."""
    mlp: MLPConfig = field(default_factory=MLPConfig)
    cnn: CNNConfig = field(default_factory=CNNConfig)
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    vit: ViTConfig = field(default_factory=ViTConfig)

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        chosen_options(self).validate()

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
        """Creates the chosen classifier.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        return chosen_options(self).create(classes, dtype)


@dataclass(frozen=True, kw_only=True)
class VAEModels:
    """Latent-variable models of images, with the methods that `jaxmodels.models.latent` states."""

    model: str = "conv"
    """Network: mlp, conv, ladder (hierarchical) or vqvae (codebook and autoregressive prior)."""
    mlp: MLPVAEConfig = field(default_factory=MLPVAEConfig)
    conv: ConvVAEConfig = field(default_factory=ConvVAEConfig)
    ladder: LadderVAEConfig = field(default_factory=LadderVAEConfig)
    vqvae: VQVAEConfig = field(default_factory=VQVAEConfig)

    def validate(self) -> None:
        """Raises InputError for an unknown model, or options that it cannot have."""
        chosen_options(self).validate()

    def create(
        self, shape: Shape, parameters: int, classes: int = 0, dtype: DTypeLike = jnp.float32
    ) -> nn.Module:
        """Creates the chosen model of images of a shape.

        parameters: numbers per pixel that p(x|z) has.
        classes: labels that encoder and decoder are told; 0: none.

        Raises:
          InputError: an unknown model, or options that it cannot have.
        """
        return chosen_options(self).create(shape, parameters, classes, dtype)


_GANS = {
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "sngan": (SNGANGenerator, SNGANDiscriminator),
    "r3gan": (R3GANGenerator, R3GANDiscriminator),
}


@dataclass(frozen=True, kw_only=True)
class GANModels:
    """Pairs of generator and discriminator, which all have the same options."""

    model: str = "dcgan"
    """Architecture of both networks: dcgan, sngan or r3gan."""
    width: int = 32
    """Channels next to the image, which deeper layers have multiples of."""
    norm: str = ""
    """Normalisation in the discriminator: none, batch, layer or spectral; empty: the architecture's
    own (dcgan batch, sngan spectral, r3gan none)."""

    @property
    def chosen_norm(self) -> str:
        """The normalisation in the discriminator.

        Raises:
          InputError: an unknown model.
        """
        return self.norm or self._networks()[1].norm

    def validate(self) -> None:
        """Raises InputError for an unknown model or norm, a norm that the model's discriminator
        does not have, or a width below 1."""
        _, discriminator = self._networks()
        require_known("norm", self.chosen_norm, NORMS)
        if self.chosen_norm not in discriminator.norms:
            raise InputError(
                f"norm = {self.norm}; the discriminator of '{self.model}' has none of it: --norm"
                f" {' or '.join(discriminator.norms)}"
            )
        require_at_least(1, self, "width")

    def create(
        self, shape: Shape, classes: int = 0, dtype: DTypeLike = jnp.float32
    ) -> tuple[nn.Module, nn.Module]:
        """Creates the generator and the discriminator of images of a shape.

        classes: labels that both are told; 0: none.

        Raises:
          InputError: as `validate`.
        """
        self.validate()
        generator, discriminator = self._networks()
        options = {"shape": shape, "width": self.width, "classes": classes, "dtype": dtype}
        return generator(**options), discriminator(norm=self.chosen_norm, **options)

    def _networks(self) -> tuple[Any, Any]:
        require_known("model", self.model, _GANS)
        return _GANS[self.model]


def create_model(
    name: str, classes: int, dtype: DTypeLike = jnp.float32, **options: Any
) -> nn.Module:
    """Creates the named classifier with options of its Config.

    Raises:
      InputError: an unknown name, or an option that the model does not have.
    """
    return with_options(ClassifierModels(model=name), **options).create(classes, dtype)


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
