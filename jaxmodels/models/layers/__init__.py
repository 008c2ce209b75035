"""Layers with flax's parameter names, built on `jaxmodels.ops`."""

from jaxmodels.models.layers.convolution import Conv, ConvTranspose, doubling_padding, halved
from jaxmodels.models.layers.dropout import Dropout, Rate
from jaxmodels.models.layers.linear import Dense, SpectralNorm, default_kernel_init
from jaxmodels.models.layers.normalisation import BatchNorm, GroupNorm, LayerNorm, rms_norm

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "GroupNorm",
    "LayerNorm",
    "Rate",
    "SpectralNorm",
    "default_kernel_init",
    "doubling_padding",
    "halved",
    "rms_norm",
]
