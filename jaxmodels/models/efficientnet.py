"""EfficientNet-Lite, layer for layer as in TensorFlow's tpu repository."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import require_known
from jaxmodels.models.layers import BatchNorm, Conv, Dropout, Rate
from jaxmodels.models.layers.blocks import again

# Multiples of the channels and of the blocks, by efficientnet_lite_builder.py.
VARIANTS = {
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
    "lite3": (1.2, 1.4),
    "lite4": (1.4, 1.8),
}
# Side of the square images of ImageNet on which each was published.
IMAGE_SIZES = {"lite0": 224, "lite1": 240, "lite2": 260, "lite3": 280, "lite4": 300}
STEM, HEAD = 32, 1280  # channels, the same in all variants

# Of a normal distribution with variance 2 / (kernel area * outputs).
kernel_init = nn.initializers.variance_scaling(2, "fan_out", "normal")


class Stage(NamedTuple):
    """Blocks of the same shape; the first of them has the stride.

    expansion: channels inside of a block, as a multiple of its inputs.
    """

    depth: int
    size: int
    strides: int
    expansion: int
    width: int


# Table 1 of Tan & Le 2019.
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


@dataclass(frozen=True, kw_only=True)
class EfficientNetConfig:
    """Options of EfficientNet-Lite."""

    variant: str = "lite0"
    """Network: lite0 (4.7 million parameters for ImageNet, 224 pixels) to lite4 (13 million)."""

    def validate(self) -> None:
        """Raises InputError for an unknown variant."""
        require_known("variant", self.variant, VARIANTS)

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "EfficientNet":
        """Creates the classifier."""
        self.validate()
        return EfficientNet(classes=classes, stages=stages_of(self.variant), dtype=dtype)


def stages_of(variant: str) -> tuple[Stage, ...]:
    """Scales the stages for a variant: channels to multiples of 8, and the numbers of blocks up,
    except that the first and the last stage keep theirs."""
    width, depth = VARIANTS[variant]
    last = len(STAGES) - 1
    return tuple(
        stage._replace(
            width=_scaled_channels(stage.width, width),
            depth=stage.depth if number in (0, last) else math.ceil(stage.depth * depth),
        )
        for number, stage in enumerate(STAGES)
    )


def _scaled_channels(channels: int, factor: float) -> int:
    scaled = channels * factor
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * scaled else rounded + 8


class EfficientNet(nn.Module):
    """EfficientNet (Tan & Le 2019) in its Lite variants: ReLU6 in place of swish, no
    squeeze-and-excitation, and a stem and head of fixed width.

    Paddings are TensorFlow's "SAME", which pads more after than before. In training there is no
    stochastic depth, and the running statistics of BatchNorm keep 0.99 of themselves.

    dropout_rate: of the input of the head; 0.2 in the published training of lite0 and lite1.
    """

    classes: int
    stages: tuple[Stage, ...] = STAGES
    stem: int = STEM
    head: int = HEAD
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
        x = _ConvNorm(self.head, 1, dtype=self.dtype, name="top")(x, train=train)
        x = Dropout()(jnp.mean(x, axis=(1, 2)), rate=dropout_rate, train=train)
        if head:
            x = nn.Dense(self.classes, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.float32)

    def scales(self, x: Array, train: bool, most: int = 32) -> Iterator[tuple[int, Array]]:
        """Yields the outputs of stem and blocks with their reduction, the pixels of the image to
        one of the output, up to `most`."""
        x = _ConvNorm(self.stem, 3, 2, dtype=self.dtype, name="stem")(x, train=train)
        reduction = 2
        yield reduction, x
        for name, stage, strides in blocks_of(self.stages):
            reduction *= strides
            if reduction > most:
                return
            block = Block(stage.width, stage.size, strides, stage.expansion, self.dtype, name=name)
            x = again(block, x, train=train)
            yield reduction, x

    def features(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(x, head=False)


class EfficientNetBackbone(EfficientNet):
    """The blocks of an EfficientNet, with its names, as the backbone of another network.

    most: the largest reduction; the blocks beyond it are left out.
    """

    classes: int = 0
    most: int = 32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> dict[int, Array]:
        """Gives the last output at each reduction: 2, 4, 8, 16, 32."""
        return dict(self.scales(x, train, self.most))


def blocks_of(stages: tuple[Stage, ...]) -> Iterator[tuple[str, Stage, int]]:
    """Yields the name, the stage and the stride of each block."""
    number = 0
    for stage in stages:
        for place in range(stage.depth):
            yield f"block_{number}", stage, 1 if place else stage.strides
            number += 1


class Block(nn.Module):
    """An inverted bottleneck (Sandler et al. 2018): a 1x1 convolution to more channels, a depthwise
    convolution and a 1x1 convolution back, beside a shortcut where the shape stays."""

    width: int
    size: int
    strides: int
    expansion: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch out_height out_width features"]:
        inner, y = x.shape[-1] * self.expansion, x
        if self.expansion > 1:
            y = _ConvNorm(inner, 1, dtype=self.dtype, name="expand")(y, train=train)
        depthwise = _ConvNorm(
            inner, self.size, self.strides, depthwise=True, dtype=self.dtype, name="depthwise"
        )
        project = _ConvNorm(self.width, 1, activated=False, dtype=self.dtype, name="project")
        y = project(depthwise(y, train=train), train=train)
        return x + y if x.shape == y.shape else y


class _ConvNorm(nn.Module):
    """A convolution, BatchNorm, which would undo a bias, and ReLU6."""

    features: int
    size: int
    strides: int = 1
    depthwise: bool = False
    activated: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], *, train: bool) -> Array:
        x = Conv(
            self.features,
            (self.size, self.size),
            self.strides,
            padding="SAME",
            feature_group_count=x.shape[-1] if self.depthwise else 1,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=kernel_init,
            name="conv",
        )(x)
        norm = BatchNorm(momentum=0.99, epsilon=1e-3, dtype=self.dtype, name="norm")
        x = norm(x, train=train)
        return jax.nn.relu6(x) if self.activated else x
