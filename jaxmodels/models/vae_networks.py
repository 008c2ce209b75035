"""Encoders (images to features) and decoders (latents to numbers per pixel) of VAEs."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import InputError
from jaxmodels.models.latent import Labels, one_hot_columns, one_hot_planes
from jaxmodels.models.layers import Conv, ConvTranspose, Dense, doubling_padding, halved

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh, "gelu": nn.gelu, "elu": nn.elu}
Shape = tuple[int, int, int]  # height, width, channels


class MLPEncoder(nn.Module):
    """Linear layers of widths `hidden`, each followed by the activation."""

    hidden: tuple[int, ...]
    activation: str
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], labels: Labels = None
    ) -> Float[Array, "batch features"]:
        x = one_hot_columns(images.reshape(images.shape[0], -1), labels, self.classes)
        for width in self.hidden:
            x = ACTIVATIONS[self.activation](Dense(width, dtype=self.dtype)(x))
        return x


class MLPDecoder(nn.Module):
    """The encoder's layers in reverse, and a linear layer to `parameters` numbers per pixel."""

    shape: Shape
    parameters: int
    hidden: tuple[int, ...]
    activation: str
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch size"], labels: Labels = None
    ) -> Float[Array, "batch height width parameters"]:
        x = one_hot_columns(latents, labels, self.classes)
        for width in reversed(self.hidden):
            x = ACTIVATIONS[self.activation](Dense(width, dtype=self.dtype)(x))
        height, width, _ = self.shape
        x = Dense(height * width * self.parameters, dtype=self.dtype)(x)
        return x.reshape(-1, height, width, self.parameters).astype(jnp.float32)


def quartered_sizes(shape: Shape) -> list[tuple[int, int]]:
    """Halves the image's size two times, rounding up: 28, 14, 7 or 8, 4, 2.

    Raises:
      InputError: an image of fewer than 4 pixels a side.
    """
    if min(shape[:2]) < 4:
        raise InputError(
            f"image size {shape[0]}x{shape[1]}; convolutional VAEs make images from 4 pixels a side"
            " on; --model mlp makes any, --image-size resizes them"
        )
    half = halved(shape[:2])
    return [shape[:2], half, halved(half)]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to their input (He et al. 2016, activations first)."""

    width: int
    activation: str
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        activate = ACTIVATIONS[self.activation]
        y = Conv(self.width, dtype=self.dtype)(activate(x))
        # The kernel starts at zero, so that a deep stack starts as the identity.
        y = Conv(self.width, kernel_init=nn.initializers.zeros, dtype=self.dtype)(activate(y))
        return x + y


class ConvTrunk(nn.Module):
    """Two strided convolutions to a quarter of the size, with `width` and 2 `width` channels, and
    `blocks` residual blocks."""

    width: int
    blocks: int
    activation: str
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], labels: Labels = None
    ) -> Float[Array, "batch small_height small_width features"]:
        activate = ACTIVATIONS[self.activation]
        x = one_hot_planes(images, labels, self.classes)
        x = activate(Conv(self.width, (4, 4), strides=2, dtype=self.dtype)(x))
        x = Conv(2 * self.width, (4, 4), strides=2, dtype=self.dtype)(x)
        for _ in range(self.blocks):
            x = ResidualBlock(2 * self.width, self.activation, self.dtype)(x)
        return activate(x)


class ConvHead(nn.Module):
    """The reverse of a `ConvTrunk`, to `parameters` numbers per pixel."""

    shape: Shape
    parameters: int
    width: int
    blocks: int
    activation: str
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch small_height small_width features"]
    ) -> Float[Array, "batch height width parameters"]:
        activate = ACTIVATIONS[self.activation]
        image, half, _ = quartered_sizes(self.shape)
        for _ in range(self.blocks):
            x = ResidualBlock(2 * self.width, self.activation, self.dtype)(x)
        for size, width in ((half, self.width), (image, self.parameters)):
            padding = doubling_padding(size)
            x = ConvTranspose(width, (4, 4), strides=2, padding=padding, dtype=self.dtype)(
                activate(x)
            )
        return x.astype(jnp.float32)


class ConvEncoder(nn.Module):
    """A `ConvTrunk` and a linear layer."""

    features: int
    width: int
    blocks: int
    activation: str
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], labels: Labels = None
    ) -> Float[Array, "batch features"]:
        x = ConvTrunk(self.width, self.blocks, self.activation, self.classes, self.dtype)(
            images, labels
        )
        x = Dense(self.features, dtype=self.dtype)(x.reshape(x.shape[0], -1))
        return ACTIVATIONS[self.activation](x)


class ConvDecoder(nn.Module):
    """Two linear layers and a `ConvHead`."""

    shape: Shape
    parameters: int
    features: int
    width: int
    blocks: int
    activation: str
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch size"], labels: Labels = None
    ) -> Float[Array, "batch height width parameters"]:
        x = one_hot_columns(latents, labels, self.classes)
        x = ACTIVATIONS[self.activation](Dense(self.features, dtype=self.dtype)(x))
        height, width = quartered_sizes(self.shape)[-1]
        x = Dense(height * width * 2 * self.width, dtype=self.dtype)(x)
        return ConvHead(
            self.shape, self.parameters, self.width, self.blocks, self.activation, self.dtype
        )(x.reshape(-1, height, width, 2 * self.width))
