"""The networks of R3GAN (Huang et al. 2024, section 3.2 and appendix): no normalisation at all."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float, Int

from jaxmodels.models.gan_layers import Projection, Shape, stages
from jaxmodels.models.layers import Conv, Dense
from jaxmodels.models.layers.blocks import again
from jaxmodels.ops import downsample_bilinear, upsample_bilinear

BLOCKS = 2  # per resolution
GROUP = 16  # least channels of a group of the 3x3 convolutions

_GAIN = (2 / (1 + 0.2**2)) ** 0.5  # of a leaky ReLU with slope 0.2


class _Block(nn.Module):
    """A residual block: 1x1, grouped 3x3 and 1x1, leaky ReLU between them, twice as wide inside.

    It starts as in Fixup (Zhang et al. 2019): the last kernel is zero, and the others are scaled by
    depth^(-1/4). depth: the number of blocks of the network.
    """

    depth: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width, gain = 2 * x.shape[-1], _GAIN * self.depth ** (-1 / 4)
        init = nn.initializers.variance_scaling(gain**2, "fan_in", "normal")
        options = {"kernel_init": init, "dtype": self.dtype}
        y = nn.leaky_relu(Conv(width, (1, 1), **options)(x), 0.2)
        y = nn.leaky_relu(Conv(width, feature_group_count=_groups(width), **options)(y), 0.2)
        options |= {"kernel_init": nn.initializers.zeros, "use_bias": False}
        return x + Conv(x.shape[-1], (1, 1), **options)(y)


def _groups(channels: int) -> int:
    return next(n for n in range(max(1, channels // GROUP), 0, -1) if channels % n == 0)


def _channels(width: int, halvings: int) -> int:
    return width * 2 ** min(halvings, 3)


class R3GANGenerator(nn.Module):
    """A learned smallest image scaled by latents, residual blocks, bilinear doublings, tanh."""

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
        (rows, columns), doublings = stages(self.shape)
        depth = BLOCKS * (doublings + 1)
        if self.classes:
            embedded = Dense(latents.shape[-1], use_bias=False, dtype=self.dtype)(
                jax.nn.one_hot(labels, self.classes, dtype=self.dtype)
            )
            # An embedding of a one-hot vector is smaller than the latents; the root restores its
            # scale.
            latents = jnp.concatenate([latents, embedded * self.classes**0.5], axis=-1)
        channels = _channels(self.width, doublings)
        basis = self.param("basis", nn.initializers.normal(1.0), (rows, columns, channels))
        scale = Dense(channels, use_bias=False, dtype=self.dtype)(latents)
        x = basis.astype(self.dtype) * scale[:, None, None, :]
        for left in range(doublings, -1, -1):
            if left < doublings:
                x = upsample_bilinear(x)
                if _channels(self.width, left) != x.shape[-1]:
                    x = self._one_by_one(_channels(self.width, left))(x)
            for _ in range(BLOCKS):
                x = again(_Block(depth, self.dtype), x)
        return jnp.tanh(self._one_by_one(self.shape[2])(x).astype(jnp.float32))

    def _one_by_one(self, features: int) -> Conv:
        return Conv(features, (1, 1), use_bias=False, dtype=self.dtype)


class R3GANDiscriminator(nn.Module):
    """1x1, residual blocks, bilinear halvings, a weighted sum, a linear layer; no normalisation."""

    shape: Shape
    width: int
    classes: int = 0
    norm: str = "none"
    dtype: DTypeLike = jnp.float32
    norms: ClassVar[tuple[str, ...]] = ("none",)

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        labels: Int[Array, " batch"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, " batch"]:
        _, halvings = stages(self.shape)
        depth = BLOCKS * (halvings + 1)
        options = {"use_bias": False, "dtype": self.dtype}
        x = Conv(self.width, (1, 1), **options)(images)
        for halved in range(halvings + 1):
            if halved:
                x = downsample_bilinear(x)
                if _channels(self.width, halved) != x.shape[-1]:
                    x = Conv(_channels(self.width, halved), (1, 1), **options)(x)
            for _ in range(BLOCKS):
                x = again(_Block(depth, self.dtype), x)
        # The weighted sum is a depthwise convolution as large as the image.
        area = x.shape[1] * x.shape[2]
        init = nn.initializers.normal(area**-0.5)
        weights = self.param("weights", init, x.shape[1:]).astype(self.dtype)
        x = jnp.sum(x * weights, axis=(1, 2))
        logits = Dense(1, **options)(x)[:, 0]
        if self.classes:
            logits += Projection(self.classes, dtype=self.dtype)(x, labels)
        return logits.astype(jnp.float32)
