"""Flax Linen modules: array in, array out. A new architecture is one file and one line here."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import InputError, require_known
from jaxmodels.models.cnn import CNN
from jaxmodels.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxmodels.models.gan_layers import NORMS
from jaxmodels.models.ladder import LadderVAE
from jaxmodels.models.mlp import MLP
from jaxmodels.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxmodels.models.sngan import SNGANDiscriminator, SNGANGenerator
from jaxmodels.models.vae import VAE
from jaxmodels.models.vae_networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from jaxmodels.models.vqvae import VQVAE

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


def _one_layer(encoder: type[nn.Module], decoder: type[nn.Module]) -> Callable[..., VAE]:
    def create(shape, parameters, latent_size=16, flows=0, **options):
        made = encoder(**options), decoder(shape, parameters, **options)
        return VAE(*made, latent_size, flows, options["dtype"])

    return create


# Each with the options that it has of its own, beside shape, parameters, classes and dtype.
VAES = {
    "mlp": (_one_layer(MLPEncoder, MLPDecoder), ("latent_size", "flows", "hidden", "activation")),
    "conv": (
        _one_layer(ConvEncoder, ConvDecoder),
        ("latent_size", "flows", "width", "blocks", "features", "activation"),
    ),
    "ladder": (LadderVAE, ("latent_size", "width", "depth")),
    "vqvae": (VQVAE, ("codes", "code_size", "width", "blocks", "activation")),
}


def create_vae(
    name: str,
    shape: tuple[int, int, int],
    parameters: int,
    classes: int = 0,
    dtype: DTypeLike = jnp.float32,
    **options,
) -> nn.Module:
    """The named latent-variable model (see `jaxmodels.models.latent`) of images of a shape, with
    that many numbers per pixel for p(x|z).

    Raises:
      InputError: an unknown name, or an option that the model does not have.
    """
    require_known("model", name, VAES)
    create, known = VAES[name]
    for option, value in options.items():
        if option not in known:
            have = [other for other in VAES if option in VAES[other][1]]
            raise InputError(
                f"{option} = {value}; model '{name}' has no such option: --model"
                f" {' or '.join(have)}"
            )
    return create(shape=shape, parameters=parameters, classes=classes, dtype=dtype, **options)
