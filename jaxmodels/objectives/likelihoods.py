"""Distributions p(x|z) of images, made from the decoder's numbers per pixel."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmodels.errors import InputError, require_known
from jaxmodels.ops import likelihoods as ops
from jaxmodels.ops.latents import Gaussian

LIKELIHOODS = ("bernoulli", "gaussian", "logistic_mixture")

# Pixels are in 0..1. Images may lack leading axes of the parameters, because all samples of one
# posterior share their image.
Images = Float[Array, "*images height width channels"]
Parameters = Float[Array, "*batch height width parameters"]


@runtime_checkable
class Likelihood(Protocol):
    """A distribution p(x|z) of images whose pixels have equidistant values, scaled to 0..1.

    All likelihoods can be compared, since each gives the log-probability of discrete images or a
    lower bound of it.
    """

    name: ClassVar[str]  # as in the flag --likelihood
    dequantized: ClassVar[bool]  # whether images need uniform noise as wide as a level

    @property
    def size(self) -> int:
        """The numbers per pixel that the decoder gives."""
        ...

    def log_probability(self, parameters: Parameters, images: Images) -> Float[Array, "*batch"]:
        """Returns log p(x|z) of whole images, in nats."""
        ...

    def mean(self, parameters: Parameters) -> Images:
        """Returns the mean image."""
        ...

    def sample(self, key: Key[Array, ""], parameters: Parameters) -> Images:
        """Draws an image."""
        ...


def make_likelihood(
    name: str, channels: int, levels: int, *, mixtures: int = 5, scale: float = 0.0
) -> Likelihood:
    """Makes the named likelihood of pixels that have one of `levels` values.

    mixtures: logistics per pixel (logistic_mixture).
    scale: standard deviation (gaussian); 0: the decoder gives one per pixel and channel.

    Raises:
      InputError: an unknown name, or a number out of range.
    """
    require_known("likelihood", name, LIKELIHOODS)
    if mixtures < 1 or levels < 2 or not 0 <= scale < math.inf:
        raise InputError(
            f"mixtures = {mixtures}, levels = {levels}, scale = {scale}; expected at least 1, at"
            " least 2, and a finite number of at least 0"
        )
    if name == "bernoulli":
        return BernoulliPixels(channels)
    if name == "gaussian":
        return GaussianPixels(channels, levels, scale)
    return LogisticMixturePixels(channels, levels, mixtures)


@dataclass(frozen=True)
class BernoulliPixels:
    """Independent black and white pixels, whose logits the decoder gives.

    For grey values the log-probability is a cross-entropy, not a likelihood.
    """

    channels: int

    name: ClassVar[str] = "bernoulli"
    dequantized: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """The numbers per pixel that the decoder gives."""
        return self.channels

    def log_probability(self, parameters: Parameters, images: Images) -> Float[Array, "*batch"]:
        """Returns the sum over pixels of log p(x|z)."""
        return _sum_of_pixels(ops.bernoulli_log_likelihood(parameters, images))

    def mean(self, parameters: Parameters) -> Images:
        """Returns the probabilities of white."""
        return jax.nn.sigmoid(parameters)

    def sample(self, key: Key[Array, ""], parameters: Parameters) -> Images:
        """Draws black and white pixels."""
        return jax.random.bernoulli(key, jax.nn.sigmoid(parameters)).astype(jnp.float32)


@dataclass(frozen=True)
class GaussianPixels:
    """Independent normal pixels, for images (x (levels - 1) + u) / levels with uniform noise u.

    The log-density plus the log-volume of a level is, on average over u, a lower bound of the
    discrete log-probability (Theis et al. 2016, section 3.1).

    scale: standard deviation; 0: the decoder gives one per pixel and channel.
    """

    channels: int
    levels: int
    scale: float = 0.0

    name: ClassVar[str] = "gaussian"
    dequantized: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """The numbers per pixel that the decoder gives."""
        return self.channels if self.scale else 2 * self.channels

    def pixels(self, parameters: Parameters) -> Gaussian:
        """Returns the normal distribution of each pixel."""
        if self.scale:
            return Gaussian(parameters, jnp.full_like(parameters, math.log(self.scale)))
        mean, raw = jnp.split(parameters, 2, axis=-1)
        # No spread is below a tenth of a level, so that the density of constant pixels is bounded.
        return Gaussian(mean, jnp.log(0.1 / self.levels + jax.nn.softplus(raw)))

    def log_probability(self, parameters: Parameters, images: Images) -> Float[Array, "*batch"]:
        """Returns the sum over pixels of the log-probability of a level."""
        log_density = ops.gaussian_log_likelihood(*self.pixels(parameters), images)
        return _sum_of_pixels(log_density - math.log(self.levels))

    def mean(self, parameters: Parameters) -> Images:
        """Returns the means, clipped to 0..1."""
        return jnp.clip(self.pixels(parameters).mean, 0, 1)

    def sample(self, key: Key[Array, ""], parameters: Parameters) -> Images:
        """Draws normal pixels, clipped to 0..1."""
        mean, log_scale = self.pixels(parameters)
        return jnp.clip(mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape), 0, 1)


@dataclass(frozen=True)
class LogisticMixturePixels:
    """Mixtures of discretised logistics per pixel (see `logistic_mixture_log_likelihood`)."""

    channels: int
    levels: int
    mixtures: int = 5

    name: ClassVar[str] = "logistic_mixture"
    dequantized: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """The numbers per pixel that the decoder gives."""
        return ops.logistic_mixture_size(self.channels, self.mixtures)

    def log_probability(self, parameters: Parameters, images: Images) -> Float[Array, "*batch"]:
        """Returns the sum over pixels of the log-probability of their levels."""
        log_pixels = ops.logistic_mixture_log_likelihood(parameters, 2 * images - 1, self.levels)
        return jnp.sum(log_pixels, axis=(-2, -1))

    def mean(self, parameters: Parameters) -> Images:
        """Returns the mean of each channel, given the means of earlier channels."""
        return (ops.logistic_mixture_mean(parameters, self.channels) + 1) / 2

    def sample(self, key: Key[Array, ""], parameters: Parameters) -> Images:
        """Draws pixels, each at one of the levels."""
        drawn = ops.logistic_mixture_sample(key, parameters, self.channels, self.levels)
        return (drawn + 1) / 2


def _sum_of_pixels(values: Float[Array, "*batch height width last"]) -> Float[Array, "*batch"]:
    return jnp.sum(values.astype(jnp.float32), axis=(-3, -2, -1))
