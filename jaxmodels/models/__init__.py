"""Flax Linen modules: array in, array out. A new architecture is one file and one line here."""

from flax import linen as nn

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.cnn import CNN
from jaxmodels.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxmodels.models.gan_layers import NORMS
from jaxmodels.models.mlp import MLP
from jaxmodels.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxmodels.models.sngan import SNGANDiscriminator, SNGANGenerator

MODELS = {"mlp": MLP, "cnn": CNN}


def create_model(name: str, **options) -> nn.Module:
    """The named architecture. Raises InputError for an unknown name."""
    require_known("model", name, MODELS)
    return MODELS[name](**options)


GANS = {
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "sngan": (SNGANGenerator, SNGANDiscriminator),
    "r3gan": (R3GANGenerator, R3GANDiscriminator),
}


def create_gan(name: str, norm: str, **options) -> tuple[nn.Module, nn.Module]:
    """The named generator and discriminator. norm: of the discriminator: none, batch, layer or
    spectral.

    Raises:
      InputError: an unknown name, or a norm that the discriminator does not have.
    """
    require_known("model", name, GANS)
    require_known("norm", norm, NORMS)
    generator, discriminator = GANS[name]
    if norm not in discriminator.norms:
        raise InputError(
            f"norm = {norm}; the discriminator of '{name}' has none of it: --norm"
            f" {' or '.join(discriminator.norms)}"
        )
    return generator(**options), discriminator(norm=norm, **options)
