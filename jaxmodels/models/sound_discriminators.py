"""Networks that tell recorded sounds from made ones, by their samples and by their spectra."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, DTypeLike, Float

from jaxmodels.errors import InputError
from jaxmodels.models.layers import Conv
from jaxmodels.models.options import require_at_least
from jaxmodels.ops.spectral import Transform, power_spectrum, stft

_SLOPE = 0.1  # of leaky ReLUs
_HALVINGS = 3  # of the frequencies of a spectrum

Judged = tuple[Float[Array, "batch places"], list[Float[Array, "batch ..."]]]


@dataclass(frozen=True, kw_only=True)
class SoundDiscriminatorsConfig:
    """Options of the networks that tell recorded sounds from made ones."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    """Samples from one that a network sees to the next, a network each (HiFi-GAN); empty: none."""
    period_channels: tuple[int, ...] = (8, 16, 32, 32)
    """Channels of the layers of such a network (HiFi-GAN: 32, 128, 512, 1024, 1024)."""
    resolution_channels: int = 16
    """Channels of the networks that see spectra, one of half, the same and double frame each
    (UnivNet: 32); 0: none."""

    def validate(self) -> None:
        """Raises InputError for a size below 1, or no network."""
        require_at_least(1, self, "periods", "period_channels")
        require_at_least(0, self, "resolution_channels")
        if not self.period_channels or not (self.periods or self.resolution_channels):
            raise InputError(
                f"periods, period_channels, resolution_channels = {self.periods},"
                f" {self.period_channels}, {self.resolution_channels}; expected a network, with a"
                " layer or more"
            )

    def create(
        self, transforms: Sequence[Transform], dtype: DTypeLike = jnp.float32
    ) -> "SoundDiscriminators":
        """Creates the networks; transforms: of the spectra."""
        self.validate()
        seen = tuple(transforms) if self.resolution_channels else ()
        sizes = self.period_channels, self.resolution_channels
        return SoundDiscriminators(self.periods, seen, *sizes, dtype)


class SoundDiscriminators(nn.Module):
    """Sounds to a list of (logits, what the layers before them have seen), one for each network:
    HiFi-GAN's of periods (Kong et al. 2020, section 2.3) and UnivNet's of spectra (Jang et al.
    2021, section 2.3), with fewer channels, and without weight normalisation."""

    periods: tuple[int, ...]
    transforms: tuple[Transform, ...]
    period_channels: tuple[int, ...] = (8, 16, 32, 32)
    resolution_channels: int = 16
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, sound: Float[Array, "batch samples"]) -> list[Judged]:
        """Gives logits [batch, places] and features [batch, ...] of each network."""
        channels, dtype = self.period_channels, self.dtype
        found = [
            OfPeriod(period, channels, dtype, name=f"period_{period}")(sound)
            for period in self.periods
        ]
        for transform in self.transforms:
            name = f"spectrum_{transform.samples}"
            network = OfSpectrum(transform, self.resolution_channels, dtype, name=name)
            found.append(network(sound))
        return found


class OfPeriod(nn.Module):
    """Sees the samples that lie so many apart, each row of them with the same kernels."""

    period: int
    channels: tuple[int, ...]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, sound: Float[Array, "batch samples"]) -> Judged:
        missing = -sound.shape[1] % self.period
        x = jnp.pad(sound, ((0, 0), (0, missing)), mode="reflect").astype(self.dtype)
        x = x.reshape(len(x), -1, self.period).swapaxes(1, 2)[..., None]
        seen = []
        for layer, width in enumerate(self.channels, 1):
            stride = 1 if layer == len(self.channels) else 3
            x = Conv(width, (5,), stride, dtype=self.dtype, name=f"conv_{layer}")(x)
            seen.append(x := nn.leaky_relu(x, _SLOPE))
        return _judged(Conv(1, (3,), dtype=self.dtype, name="exit")(x), seen)


class OfSpectrum(nn.Module):
    """Sees magnitudes, by convolutions of 3x3 that halve the frequencies."""

    transform: Transform
    channels: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, sound: Float[Array, "batch samples"]) -> Judged:
        x = power_spectrum(stft(sound, self.transform), 1)[..., None].astype(self.dtype)
        seen = []
        for layer in range(1, _HALVINGS + 2):
            strides = (1, 2 if layer <= _HALVINGS else 1)
            x = Conv(self.channels, (3, 3), strides, dtype=self.dtype, name=f"conv_{layer}")(x)
            seen.append(x := nn.leaky_relu(x, _SLOPE))
        return _judged(Conv(1, (3, 3), dtype=self.dtype, name="exit")(x), seen)


def _judged(logits: Float[Array, "batch ..."], seen: list) -> Judged:
    return logits.astype(jnp.float32).reshape(len(logits), -1), seen
