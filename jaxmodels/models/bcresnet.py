"""BC-ResNet, layer for layer as in its authors' code (Qualcomm-AI-research/bcresnet)."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import InputError
from jaxmodels.models.layers import BatchNorm, Conv, Dropout, Rate
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.layers.sub_spectral_norm import SubSpectralNorm

BLOCKS = (2, 2, 4, 4)  # of each stage
CHANNELS = (2, 1, 1.5, 2, 2.5, 4)  # of stem, stages and head, as multiples of the base
STRIDED = (1, 2)  # stages whose first block halves the frequencies
_RANGES = 5  # of sub-spectral norms
_FREQUENCIES = 8  # the strides divide the bands by this

# PyTorch's: a uniform distribution of variance 1 / (3 * inputs).
kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclass(frozen=True, kw_only=True)
class BCResNetConfig:
    """Options of BC-ResNet."""

    scale: float = 1.0
    """Channels as a multiple of the smallest network's: 1, 1.5, 2, 3, 6 or 8 are published, of 9
    to 321 thousand parameters."""

    def validate(self) -> None:
        """Raises InputError for a scale without channels."""
        if self.base < 2:
            raise InputError(f"scale = {self.scale}; expected at least 0.25")

    @property
    def base(self) -> int:
        """The channels that all others are multiples of."""
        return int(8 * self.scale)

    def create(self, classes: int, dtype: DTypeLike = jnp.float32) -> "BCResNet":
        """Creates the classifier."""
        self.validate()
        return BCResNet(classes, self.base, dtype)


class BCResNet(nn.Module):
    """Broadcasted residual network (Kim et al. 2021, table 1), of spectrograms of 40 bands.

    dropout_rate: of whole channels at the end of each block's part along time; 0.1 in the published
      training.

    Raises:
      InputError: other than 40 bands, which the ranges of its norms need.
    """

    classes: int
    base: int = 8
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch frames bands"],
        *,
        train: bool = False,
        dropout_rate: Rate = None,
        head: bool = True,
    ) -> Float[Array, "batch outputs"]:
        """Gives the logits of the classes, or without the head its input."""
        if x.shape[2] != _RANGES * _FREQUENCIES:
            raise InputError(f"bands = {x.shape[2]}; bcresnet needs {_RANGES * _FREQUENCIES}")
        channels = [int(self.base * multiple) for multiple in CHANNELS]
        x = x.swapaxes(1, 2)[..., None].astype(self.dtype)
        x = nn.relu(_ConvNorm(channels[0], (5, 5), (2, 1), name="stem", dtype=self.dtype)(x, train))
        for stage, count in enumerate(BLOCKS):
            for place in range(count):
                strides = 2 if stage in STRIDED and place == 0 else 1
                block = Block(channels[stage + 1], stage, strides, self.dtype)
                x = again(block, x, train=train, dropout_rate=dropout_rate)
        x = _conv(
            channels[-2], (5, 5), padding=((0, 0), (2, 2)), depthwise=True, dtype=self.dtype,
            name="frequencies",
        )(x)  # fmt: skip
        x = nn.relu(_ConvNorm(channels[-1], (1, 1), name="top", dtype=self.dtype)(x, train))
        x = jnp.mean(x, axis=(1, 2))
        if head:
            x = nn.Dense(self.classes, dtype=self.dtype, kernel_init=kernel_init, name="head")(x)
        return x.astype(jnp.float32)

    def features(self, x: Float[Array, "batch frames bands"]) -> Float[Array, "batch features"]:
        """Gives the input of the head in evaluation."""
        return self(x, head=False)


class Block(nn.Module):
    """A part along frequencies, whose mean over frequencies goes through a part along time and is
    added to all frequencies (section 2.2).

    Without a change of channels, the input is added too; otherwise a 1x1 convolution comes first.
    """

    features: int
    stage: int  # its part along time is dilated by 2^stage
    strides: int  # of frequencies
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch frequencies frames channels"],
        *,
        train: bool,
        dropout_rate: Rate = None,
    ) -> Float[Array, "batch out_frequencies frames features"]:
        shortcut = x if x.shape[-1] == self.features else None
        if shortcut is None:
            x = nn.relu(_ConvNorm(self.features, (1, 1), name="change", dtype=self.dtype)(x, train))
        x = _conv(
            self.features, (3, 1), (self.strides, 1), ((1, 1), (0, 0)), depthwise=True,
            dtype=self.dtype, name="frequencies",
        )(x)  # fmt: skip
        x = SubSpectralNorm(_RANGES, dtype=self.dtype, name="norm")(x, train=train)
        y = jnp.mean(x, axis=1, keepdims=True)
        reach = 2**self.stage
        y = _conv(
            self.features, (1, 3), 1, ((0, 0), (reach, reach)), (1, reach), depthwise=True,
            dtype=self.dtype, name="times",
        )(y)  # fmt: skip
        y = nn.silu(BatchNorm(dtype=self.dtype, name="times_norm")(y, train=train))
        y = _conv(self.features, (1, 1), dtype=self.dtype, name="mix")(y)
        # Dropout of one number for each channel leaves whole channels out.
        kept = Dropout()(jnp.ones_like(y[:, :1, :1]), rate=dropout_rate, train=train)
        x = x + y * kept
        return nn.relu(x if shortcut is None else x + shortcut)


def _conv(
    features: int,
    size: tuple[int, int],
    strides: int | tuple[int, int] = 1,
    padding: tuple[tuple[int, int], ...] = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    *,
    depthwise: bool = False,
    **options,
) -> Conv:
    """Makes a convolution without a bias."""
    return Conv(
        features,
        size,
        strides,
        padding,
        kernel_dilation=dilation,
        feature_group_count=features if depthwise else 1,
        use_bias=False,
        kernel_init=kernel_init,
        **options,
    )


class _ConvNorm(nn.Module):
    """A convolution that keeps the size at unit strides, and BatchNorm."""

    features: int
    size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch frequencies frames channels"], train: bool) -> Array:
        padding = tuple((side // 2, side // 2) for side in self.size)
        x = _conv(self.features, self.size, self.strides, padding, dtype=self.dtype, name="conv")(x)
        return BatchNorm(dtype=self.dtype, name="norm")(x, train=train)
