"""Flax Linen modules: array in, array out. A new architecture is one file and one line here."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import DTypeLike

from jaxmodels.errors import InputError, require_known
from jaxmodels.models import resnet, vit
from jaxmodels.models.cnn import CNN
from jaxmodels.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxmodels.models.gan_layers import NORMS
from jaxmodels.models.ladder import LadderVAE
from jaxmodels.models.mlp import MLP
from jaxmodels.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxmodels.models.resnet import ResNet
from jaxmodels.models.sngan import SNGANDiscriminator, SNGANGenerator
from jaxmodels.models.vae import VAE
from jaxmodels.models.vae_networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from jaxmodels.models.vit import ViT
from jaxmodels.models.vqvae import VQVAE


def _creator(models: dict[str, tuple[Callable, tuple[str, ...]]], name: str, options: dict):
    """What makes the named model of a registry.

    Raises:
      InputError: an unknown name, or an option that the model does not have.
    """
    require_known("model", name, models)
    create, known = models[name]
    for option, value in options.items():
        if option not in known:
            have = [other for other in models if option in models[other][1]]
            fix = f": --model {' or '.join(have)}" if have else ""
            raise InputError(f"{option} = {value}; model '{name}' has no such option{fix}")
    return create


def _one_of(kind: type[nn.Module], variants: dict[str, dict], default: str) -> Callable:
    def create(variant=default, **options):
        require_known("variant", variant, variants)
        return kind(**{**variants[variant], **options})

    return create


# Each with the options that it has of its own, beside classes and dtype.
MODELS = {
    "mlp": (MLP, ("hidden", "batch_norm")),
    "cnn": (CNN, ("hidden", "batch_norm", "channels")),
    "resnet": (_one_of(ResNet, resnet.VARIANTS, "cifar18"), ("variant",)),
    "vit": (_one_of(ViT, vit.VARIANTS, "tiny"), ("variant", "patch", "pool", "positions")),
}


def create_model(name: str, classes: int, dtype: DTypeLike = jnp.float32, **options) -> nn.Module:
    """The named classifier of images.

    variant: of resnet: tiny, cifar18, 18 or 50; of vit: tiny, s16 or b16.

    Raises:
      InputError: an unknown name or variant, or an option that the model does not have.
    """
    return _creator(MODELS, name, options)(classes=classes, dtype=dtype, **options)


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
    create = _creator(VAES, name, options)
    return create(shape=shape, parameters=parameters, classes=classes, dtype=dtype, **options)
