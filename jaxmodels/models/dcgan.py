"""DCGAN (Radford et al. 2016), for images of any size it can double to, grey or RGB."""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.models.gan_layers import Normalization, Projection, Shape, stages
from jaxmodels.models.layers import BatchNorm, Conv, ConvTranspose, Dense

kernel_init = nn.initializers.normal(0.02)


class DCGANGenerator(nn.Module):
    """A linear layer to the smallest image, then 4x4 transposed convolutions that double it.

    BatchNorm and ReLU between the layers, tanh after the last. The last but one has `width`
    channels, each before it twice as many. At 64x64 with width 64: the generator of the paper.
    """

    shape: Shape
    width: int = 64
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
        (rows, columns), doublings = stages(self.shape)
        channels = self.width * 2 ** (doublings - 1)
        # No bias before BatchNorm: it has no gradient, only noise that Adam would amplify.
        x = Dense(rows * columns * channels, use_bias=False, **options)(latents)
        x = x.reshape(-1, rows, columns, channels)
        for _ in range(doublings - 1):
            x = nn.relu(BatchNorm(classes=self.classes, dtype=self.dtype)(x, labels, train=train))
            channels //= 2
            x = ConvTranspose(channels, (4, 4), strides=2, use_bias=False, **options)(x)
        x = nn.relu(BatchNorm(classes=self.classes, dtype=self.dtype)(x, labels, train=train))
        x = ConvTranspose(self.shape[2], (4, 4), strides=2, **options)(x)
        return jnp.tanh(x.astype(jnp.float32))


class DCGANDiscriminator(nn.Module):
    """4x4 convolutions that halve the image, leaky ReLU 0.2, and a linear layer.

    norm: what is done to activations (batch, layer) or kernels (spectral); none: nothing. As in the
    paper, activations of the first layer are not normalised.
    """

    shape: Shape
    width: int = 64
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
        _, halvings = stages(self.shape)
        x = images
        for layer in range(halvings):
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
