"""Residual networks, layer for layer as torchvision's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import require_known
from jaxmodels.models.layers import BatchNorm, Conv, Dropout, Rate
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.options import require_at_least
from jaxmodels.ops import max_pool

STEMS = ("imagenet", "cifar", "pooled")
VARIANTS = {
    # For a CPU: 96,314 parameters for images of one channel and 10 classes.
    "tiny": {"depths": (1, 2, 1), "width": 16, "stem": "pooled"},
    "cifar18": {"depths": (2, 2, 2, 2), "stem": "cifar"},
    "18": {"depths": (2, 2, 2, 2)},
    "34": {"depths": (3, 4, 6, 3)},
    "50": {"depths": (3, 4, 6, 3), "bottleneck": True},
    "101": {"depths": (3, 4, 23, 3), "bottleneck": True},
    "152": {"depths": (3, 8, 36, 3), "bottleneck": True},
}

kernel_init = nn.initializers.variance_scaling(2, "fan_out", "normal")  # He et al. 2015, eq. 14


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Options of the residual network."""

    variant: str = "cifar18"
    """Network: tiny or cifar18, for small images, or torchvision's 18, 34, 50, 101 or 152."""
    depths: tuple[int, ...] = ()
    """Blocks of each stage; empty: the variant's own."""
    width: int = 0
    """Channels of the first stage; 0: the variant's own."""

    def validate(self) -> None:
        """Raises InputError for an unknown variant, or a negative width or depth."""
        require_known("variant", self.variant, VARIANTS)
        require_at_least(0, self, "width")
        if self.depths:
            require_at_least(1, self, "depths")

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "ResNet":
        """Creates the classifier."""
        self.validate()
        return ResNet(classes=classes, dtype=dtype, **self.sizes())

    def sizes(self) -> dict[str, Any]:
        """Returns depths, width, stem, and whether blocks are bottlenecks."""
        own = {"depths": tuple(self.depths), "width": self.width}
        published = {"width": 64, "stem": "imagenet", "bottleneck": False}
        return {
            **published,
            **VARIANTS[self.variant],
            **{n: size for n, size in own.items() if size},
        }


class ResNet(nn.Module):
    """ResNet (He et al. 2016), version 1.5: a bottleneck's stride is in its 3x3 convolution.

    Paddings are torchvision's (the same before and after, not "SAME"), and so are the names of the
    stages: layer1_0 is its layer1.0. BatchNorm keeps the biased variance of a batch; torch keeps
    n / (n - 1) times as much, for n values of a channel in the batch.

    depths: blocks per stage; each stage but the first halves the image and doubles the channels.
    stem: "imagenet" is a 7x7 convolution and a 3x3 maximum, which both halve the image; "cifar" is
      one 3x3 convolution (section 4.2 of the paper), for images of about 32 pixels; "pooled" is
      "cifar" and the maximum, which costs least.
    zero_residual: each residual branch starts as zero (Goyal et al. 2017, section 5.1).

    Raises:
      InputError: an unknown stem.
    """

    classes: int
    depths: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    width: int = 64
    stem: str = "imagenet"
    zero_residual: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch outputs"]:
        """Gives the logits of the classes, or without the head its input."""
        *_, (_, x) = self.scales(x, train)
        x = Dropout()(jnp.mean(x, axis=(1, 2)), rate=dropout_rate, train=train)
        if head:
            x = nn.Dense(self.classes, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.float32)

    def scales(self, x: Array, train: bool, most: int = 2**30) -> Iterator[tuple[int, Array]]:
        """Yields the output of each stage with its reduction, the pixels of the image to one of the
        output, up to `most`."""
        require_known("stem", self.stem, STEMS)
        size, strides = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = _ConvNorm(self.width, size, strides, dtype=self.dtype, name="stem")(x, train=train)
        x = nn.relu(x)
        if self.stem != "cifar":
            x, strides = max_pool(x, 3, strides=2, padding=1), 2 * strides
        kind = Bottleneck if self.bottleneck else BasicBlock
        for stage, depth in enumerate(self.depths):
            if strides * 2**stage > most:
                return
            for block in range(depth):
                made = kind(
                    self.width * 2**stage,
                    strides=2 if stage and not block else 1,
                    zero_residual=self.zero_residual,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{block}",
                )
                x = again(made, x, train=train)
            yield strides * 2**stage, x

    def features(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(x, head=False)


class ResNetBackbone(ResNet):
    """The stages of a ResNet, with its names, as the backbone of another network.

    most: the largest reduction; the stages beyond it are left out.
    """

    classes: int = 0
    most: int = 32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> dict[int, Array]:
        """Gives the output at each reduction, as 4, 8, 16, 32."""
        return dict(self.scales(x, train, self.most))


class _Block(nn.Module):
    """A residual block: the sum of its input and of convolutions of the input."""

    width: int
    strides: int = 1
    zero_residual: bool = True
    dtype: DTypeLike = jnp.float32

    def residual(self, x: Array, y: Array, train: bool) -> Array:
        """Gives ReLU(x + y), x through a 1x1 convolution if it lacks the shape of y."""
        if x.shape != y.shape:
            x = self.conv("downsample", y.shape[-1], 1, self.strides)(x, train=train)
        return nn.relu(x + y)

    def conv(
        self, name: str, features: int, size: int, strides: int = 1, last: bool = False
    ) -> nn.Module:
        """Creates a convolution with BatchNorm; with `zero_residual`, the scale of the last in a
        block starts at zero."""
        init = nn.initializers.zeros if last and self.zero_residual else nn.initializers.ones
        return _ConvNorm(features, size, strides, init, self.dtype, name=name)


class BasicBlock(_Block):
    """Two 3x3 convolutions beside a shortcut; the first has the stride."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch out_height out_width features"]:
        y = nn.relu(self.conv("conv1", self.width, 3, self.strides)(x, train=train))
        y = self.conv("conv2", self.width, 3, last=True)(y, train=train)
        return self.residual(x, y, train)


class Bottleneck(_Block):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the last has 4 times as many channels as the
    others."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch out_height out_width features"]:
        y = nn.relu(self.conv("conv1", self.width, 1)(x, train=train))
        y = nn.relu(self.conv("conv2", self.width, 3, self.strides)(y, train=train))
        y = self.conv("conv3", 4 * self.width, 1, last=True)(y, train=train)
        return self.residual(x, y, train)


class _ConvNorm(nn.Module):
    """A convolution, padded by half its kernel, and BatchNorm, which would undo a bias."""

    features: int
    size: int
    strides: int = 1
    scale_init: Callable = nn.initializers.ones
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], *, train: bool) -> Array:
        x = Conv(
            self.features,
            (self.size, self.size),
            self.strides,
            padding=self.size // 2,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=kernel_init,
            name="conv",
        )(x)
        norm = BatchNorm(dtype=self.dtype, scale_init=self.scale_init, name="norm")
        return norm(x, train=train)
