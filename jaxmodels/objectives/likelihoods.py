"""What p(x|z) may be: the decoder's numbers per pixel as a distribution of images."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmodels.errors import InputError, require_known
from jaxmodels.ops import likelihoods as ops

LIKELIHOODS = ("bernoulli", "gaussian", "logistic_mixture")

Image = Float[Array, "*batch height width channels"]
Parameters = Float[Array, "*batch height width parameters"]


class Likelihood(NamedTuple):
    """p(x|z) for images whose pixels have `levels` equidistant values, scaled to 0..1.

    size: numbers per pixel that the decoder has to give. log_probability: of whole images, in nats;
    each a log-probability of discrete images, or a lower bound of it, so that all likelihoods can
    be compared. mean: in 0..1. sample: one image, in 0..1.
    """

    name: str
    size: int
    log_probability: Callable[[Parameters, Image], Float[Array, "*batch"]]
    mean: Callable[[Parameters], Image]
    sample: Callable[[Key[Array, ""], Parameters], Image]
    dequantized: bool  # whether noise that fills a level is to be added to the images


def make_likelihood(
    name: str, channels: int, levels: int, *, mixtures: int = 5, scale: float = 0.0
) -> Likelihood:
    """The named likelihood.

    bernoulli: p(x|z) = prod_i p(x_i|z); of grey values in between it is a cross-entropy.
    gaussian: of images with uniform noise that fills a level, (x (levels - 1) + u) / levels. The
    density's logarithm minus that of the volume of a level is, on average over u, a lower bound of
    the discrete log-probability (Theis et al. 2016, section 3.1). scale: standard deviation;
    0: the decoder's own number per pixel and channel.
    logistic_mixture: see `logistic_mixture_log_likelihood`; `mixtures` logistics per pixel.

    Raises:
      InputError: an unknown name, or a number out of range.
    """
    require_known("likelihood", name, LIKELIHOODS)
    if mixtures < 1 or levels < 2 or not 0 <= scale < math.inf:
        raise InputError(
            f"mixtures = {mixtures}, levels = {levels}, scale = {scale}; expected at least 1, at"
            " least 2, and a finite number of at least 0"
        )
    return {"bernoulli": _bernoulli, "gaussian": _gaussian, "logistic_mixture": _logistic_mixture}[
        name
    ](channels, levels, mixtures, scale)


def _sum(values: Float[Array, "*batch height width last"]) -> Float[Array, "*batch"]:
    return jnp.sum(values.astype(jnp.float32), axis=(-3, -2, -1))


def _bernoulli(channels: int, levels: int, mixtures: int, scale: float) -> Likelihood:
    def log_probability(logits, x):
        return _sum(ops.bernoulli_log_likelihood(logits, x))

    def sample(key, logits):
        return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(jnp.float32)

    return Likelihood("bernoulli", channels, log_probability, jax.nn.sigmoid, sample, False)


def _gaussian(channels: int, levels: int, mixtures: int, scale: float) -> Likelihood:
    def split(parameters):
        if scale:
            return parameters, jnp.full_like(parameters, math.log(scale))
        mean, raw = jnp.split(parameters, 2, axis=-1)
        # No spread is below a tenth of a level, so that the density of constant pixels is bounded.
        return mean, jnp.log(0.1 / levels + jax.nn.softplus(raw))

    def log_probability(parameters, x):
        return _sum(ops.gaussian_log_likelihood(*split(parameters), x) - math.log(levels))

    def mean(parameters):
        return jnp.clip(split(parameters)[0], 0, 1)

    def sample(key, parameters):
        mean, log_scale = split(parameters)
        return jnp.clip(mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape), 0, 1)

    size = channels if scale else 2 * channels
    return Likelihood("gaussian", size, log_probability, mean, sample, True)


def _logistic_mixture(channels: int, levels: int, mixtures: int, scale: float) -> Likelihood:
    def log_probability(parameters, x):
        found = ops.logistic_mixture_log_likelihood(parameters, 2 * x - 1, levels)
        return jnp.sum(found, axis=(-2, -1))

    def mean(parameters):
        return (ops.logistic_mixture_mean(parameters, channels) + 1) / 2

    def sample(key, parameters):
        return (ops.logistic_mixture_sample(key, parameters, channels, levels) + 1) / 2

    size = ops.logistic_mixture_size(channels, mixtures)
    return Likelihood("logistic_mixture", size, log_probability, mean, sample, False)
