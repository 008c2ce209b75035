"""The residual networks of SNGAN (Miyato et al. 2018, appendix B, figure 5; table 3 at 32x32)."""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.models.gan_layers import Normalization, Projection, Shape, stages
from jaxmodels.models.layers import BatchNorm, Conv, Dense
from jaxmodels.models.layers.blocks import again
from jaxmodels.ops import average_pool, upsample

kernel_init = nn.initializers.xavier_uniform()


class _Up(nn.Module):
    """Residual block that doubles the image: BatchNorm, ReLU, doubling, 3x3, BatchNorm, ReLU, 3x3;
    plus a shortcut through 1x1 and doubling."""

    features: int
    classes: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, labels: Array | None, *, train: bool) -> Array:
        options = {"kernel_init": kernel_init, "dtype": self.dtype}

        def norm():
            return BatchNorm(classes=self.classes, dtype=self.dtype)

        # The 1x1 convolution commutes with doubling; it comes first, because a small image takes a
        # quarter of the work.
        shortcut = upsample(Conv(self.features, (1, 1), **options)(x))
        x = upsample(nn.relu(norm()(x, labels, train=train)))
        x = Conv(self.features, use_bias=False, **options)(x)
        x = nn.relu(norm()(x, labels, train=train))
        return Conv(self.features, **options)(x) + shortcut


class _Down(nn.Module):
    """Residual block: ReLU (not in the first block), 3x3, ReLU, 3x3; plus a shortcut, through 1x1
    if shapes differ. `halve` halves both."""

    features: int
    norm: str
    dtype: DTypeLike
    first: bool = False
    halve: bool = True

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        options = {"dtype": self.dtype, "spectral": self.norm == "spectral"}
        normalized = self.norm in ("batch", "layer")

        def activate(x):
            if normalized:
                x = Normalization(self.norm, dtype=self.dtype)(x, train=train)
            return nn.relu(x)

        shortcut = x
        if self.halve:
            shortcut = average_pool(x)
        if self.halve or x.shape[-1] != self.features:
            shortcut = Conv(self.features, (1, 1), kernel_init=kernel_init, **options)(shortcut)
        x = x if self.first else activate(x)
        # The residual branch has He's gain of sqrt(2), as in the authors' code.
        init = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
        x = Conv(self.features, kernel_init=init, use_bias=not normalized, **options)(x)
        x = Conv(self.features, kernel_init=init, **options)(activate(x))
        return (average_pool(x) if self.halve else x) + shortcut


class SNGANGenerator(nn.Module):
    """A linear layer to the smallest image, residual blocks that double it, 3x3 and tanh.

    All blocks have 4 * `width` channels: with width 64, the 256 of the paper's 32x32 generator.
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
        (rows, columns), doublings = stages(self.shape)
        channels = 4 * self.width
        x = Dense(rows * columns * channels, **options)(latents)
        x = x.reshape(-1, rows, columns, channels)
        for _ in range(doublings):
            x = again(_Up(channels, self.classes, self.dtype), x, labels=labels, train=train)
        x = nn.relu(BatchNorm(dtype=self.dtype)(x, train=train))
        return jnp.tanh(Conv(self.shape[2], **options)(x).astype(jnp.float32))


class SNGANDiscriminator(nn.Module):
    """Two residual blocks that halve the image, two that do not, a sum over it and a linear layer.

    All blocks have 2 * `width` channels: with width 64, the 128 of the paper's discriminator. From
    48 pixels on, more blocks halve the image, until a side has at most 8 pixels.
    """

    shape: Shape
    width: int
    classes: int = 0
    norm: str = "spectral"
    dtype: DTypeLike = jnp.float32
    norms: ClassVar[tuple[str, ...]] = ("spectral", "none", "batch", "layer")

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        labels: Int[Array, " batch"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, " batch"]:
        channels = 2 * self.width
        _, halvings = stages(self.shape)
        x, halved = images, 0
        for block in range(max(4, halvings)):
            halve = halved < halvings and (halved < 2 or min(x.shape[1:3]) > 8)
            halved += halve
            down = _Down(channels, self.norm, self.dtype, first=block == 0, halve=halve)
            x = again(down, x, train=train)
        x = jnp.sum(nn.relu(x), axis=(1, 2))
        options = {
            "kernel_init": kernel_init,
            "dtype": self.dtype,
            "spectral": self.norm == "spectral",
        }
        logits = Dense(1, **options)(x)[:, 0]
        if self.classes:
            logits += Projection(self.classes, **options)(x, labels)
        return logits.astype(jnp.float32)
