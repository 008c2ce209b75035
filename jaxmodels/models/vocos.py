"""A vocoder: a network that makes sounds of mel spectrograms by an inverse Fourier transform."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.models.layers import Conv, Dense, LayerNorm
from jaxmodels.models.layers.blocks import again
from jaxmodels.models.options import require_at_least
from jaxmodels.ops.spectral import Transform, inverse_stft
from jaxmodels.roles import Role

_KERNEL = 7  # frames that a convolution sees
_LARGEST = 100.0  # magnitude
_DEVIATION = 0.02  # of initial kernels


@dataclass(frozen=True, kw_only=True)
class VocosConfig:
    """Options of the network that makes sounds."""

    model: Annotated[Literal["vocos"], Role.HOW] = "vocos"
    """Architecture: vocos (Siuzdak 2023), of which alone there are options here."""
    width: int = 128
    """Channels of the residual stream (Vocos: 512)."""
    depth: int = 4
    """Blocks, each of which sees seven frames of the one before (Vocos: 8)."""

    def validate(self) -> None:
        """Raises InputError for a size below 1."""
        require_at_least(1, self, "width", "depth")

    def create(self, transform: Transform, dtype: DTypeLike = jnp.float32) -> "Vocos":
        """Creates the network; transform: that of the spectrograms."""
        self.validate()
        return Vocos(transform, self.width, self.depth, dtype)


class Vocos(nn.Module):
    """Log-mel frames to a sound (Siuzdak 2023, Vocos): blocks over frames, at the rate of frames
    throughout, then the logarithm of the magnitude and the phase of each frequency of each frame,
    and the inverse transform.

    The phase is the angle p of cos p + i sin p, so that it wraps around by itself (equation 2).
    """

    transform: Transform
    width: int = 128
    depth: int = 4
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch frames bands"], samples: int
    ) -> Float[Array, "batch samples"]:
        """Makes sounds of so many samples, of which these are the frames."""
        init = nn.initializers.truncated_normal(_DEVIATION)
        x = features.astype(self.dtype)
        x = Conv(self.width, (_KERNEL,), dtype=self.dtype, kernel_init=init, name="entry")(x)
        x = LayerNorm(dtype=self.dtype, name="entry_norm")(x)
        for number in range(self.depth):
            x = again(Block(1 / self.depth, self.dtype, name=f"block_{number}"), x)
        x = LayerNorm(dtype=self.dtype, name="norm")(x)
        frequencies = self.transform.samples // 2 + 1
        both = Dense(2 * frequencies, dtype=self.dtype, kernel_init=init, name="exit")(x)
        logarithm, phase = jnp.split(both.astype(jnp.float32), 2, axis=-1)
        magnitude = jnp.exp(jnp.minimum(logarithm, np.log(_LARGEST)))
        spectrum = jax.lax.complex(magnitude * jnp.cos(phase), magnitude * jnp.sin(phase))
        return inverse_stft(spectrum, self.transform, samples)


class Block(nn.Module):
    """x + scale * MLP(norm(depthwise convolution along frames)): ConvNeXt's (Liu et al. 2022) in
    one dimension.

    scale: initial value of the factor of each channel.
    """

    scale: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch frames width"]) -> Float[Array, "batch frames width"]:
        width, init = x.shape[-1], nn.initializers.truncated_normal(_DEVIATION)
        conv = Conv(
            width, (_KERNEL,), feature_group_count=width, dtype=self.dtype, kernel_init=init
        )
        y = LayerNorm(dtype=self.dtype)(conv(x))
        y = nn.gelu(Dense(3 * width, dtype=self.dtype, kernel_init=init, name="linear1")(y))
        y = Dense(width, dtype=self.dtype, kernel_init=init, name="linear2")(y)
        scale = self.param("scale", nn.initializers.constant(self.scale), (width,))
        return x + y * scale.astype(self.dtype)
