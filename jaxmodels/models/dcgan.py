"""DCGAN (Radford et al. 2016), for images of any size, grey or RGB."""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.errors import InputError
from jaxmodels.models.gan_layers import Normalization, Projection, Shape
from jaxmodels.models.layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    doubling_padding,
    halved,
)

kernel_init = nn.initializers.normal(0.02)


def halved_sizes(shape: Shape) -> list[tuple[int, int]]:
    """Halves the image's size, rounding up, at least two times and until a side has at most 4
    pixels: 28, 14, 7, 4 or 64, 32, 16, 8, 4 or 8, 4, 2.

    Raises:
      InputError: an image of fewer than 4 pixels a side.
    """
    if min(shape[:2]) < 4:
        raise InputError(
            f"image size {shape[0]}x{shape[1]}; the dcgan makes images from 4 pixels a side on;"
            " resize them with --image-size 8"
        )
    sizes = [shape[:2]]
    while max(sizes[-1]) > 4 or len(sizes) < 3:
        sizes.append(halved(sizes[-1]))
    return sizes


class DCGANGenerator(nn.Module):
    """A linear layer to the smallest image, then 4x4 transposed convolutions that double it.

    BatchNorm and ReLU follow every layer but the last, which tanh follows. The last image before it
    has `width` channels, and each earlier one twice as many as the next. At 64x64 with width 64 it
    is the generator of PyTorch's examples.
    """

    shape: Shape
    width: int
    classes: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "batch latents"],
        labels: Int[Array, " batch"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "batch height width channels"]:
        options = {"kernel_init": kernel_init, "dtype": self.dtype}
        *larger, (rows, columns) = halved_sizes(self.shape)
        channels = self.width * 2 ** (len(larger) - 1)
        # A bias before BatchNorm has no gradient, only noise that Adam would amplify.
        x = Dense(rows * columns * channels, use_bias=False, **options)(latents)
        x = x.reshape(-1, rows, columns, channels)
        for left, size in reversed(list(enumerate(larger))):
            x = nn.relu(BatchNorm(classes=self.classes, dtype=self.dtype)(x, labels, train=train))
            channels = self.width * 2 ** (left - 1) if left else self.shape[2]
            padding = doubling_padding(size)
            x = ConvTranspose(
                channels, (4, 4), strides=2, padding=padding, use_bias=not left, **options
            )(x)
        return jnp.tanh(x.astype(jnp.float32))


class DCGANDiscriminator(nn.Module):
    """4x4 convolutions that halve the image, leaky ReLU 0.2, and a linear layer.

    norm: "batch" and "layer" normalise activations (except the first layer's, as in the paper),
      "spectral" normalises kernels, and "none" nothing.
    """

    shape: Shape
    width: int
    classes: int = 0
    norm: str = "batch"
    dtype: DTypeLike = jnp.float32
    norms: ClassVar[tuple[str, ...]] = ("batch", "none", "layer", "spectral")

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        labels: Int[Array, " batch"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, " batch"]:
        spectral = self.norm == "spectral"
        options = {"kernel_init": kernel_init, "dtype": self.dtype, "spectral": spectral}
        x = images
        for layer in range(len(halved_sizes(self.shape)) - 1):
            normalized = layer > 0 and self.norm in ("batch", "layer")
            width = self.width * 2**layer
            x = Conv(width, (4, 4), strides=2, use_bias=not normalized, **options)(x)
            if normalized:
                x = Normalization(self.norm, dtype=self.dtype)(x, train=train)
            x = nn.leaky_relu(x, 0.2)
        logits = Dense(1, **options)(x.reshape(x.shape[0], -1))[:, 0]
        if self.classes:
            logits += Projection(self.classes, **options)(jnp.sum(x, axis=(1, 2)), labels)
        return logits.astype(jnp.float32)
