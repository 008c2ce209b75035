"""Log-likelihoods of images under factorised distributions, in nats.

They are per pixel or per number; the caller sums them. A mixture of logistics is given by unbounded
`parameters`: those of a pixel are its last axis.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

_LEAST_LOG_SCALE = -7.0


def bernoulli_log_likelihood(
    logits: Float[Array | np.ndarray, "*#shape"], x: Float[Array | np.ndarray, "*#shape"]
) -> Float[Array, "..."]:
    """Computes x log p + (1 - x) log(1 - p) with p = sigmoid(logits).

    The value is finite for any finite logits. For x strictly between 0 and 1 it is a cross-entropy,
    not a log-likelihood.
    """
    return x * logits - jax.nn.softplus(logits)


def gaussian_log_likelihood(
    mean: Float[Array | np.ndarray, "*#shape"] | float,
    log_scale: Float[Array | np.ndarray, "*#shape"] | float,
    x: Float[Array | np.ndarray, "*#shape"],
) -> Float[Array, "..."]:
    """Computes the log of the normal density at x, with standard deviation exp(log_scale)."""
    scaled = (x - mean) * jnp.exp(-log_scale)
    return -0.5 * (jnp.square(scaled) + math.log(2 * math.pi)) - log_scale


def gaussian_kl(
    mean: Float[Array | np.ndarray, "*#shape"],
    log_scale: Float[Array | np.ndarray, "*#shape"],
    prior_mean: Float[Array | np.ndarray, "*#shape"] | float = 0.0,
    prior_log_scale: Float[Array | np.ndarray, "*#shape"] | float = 0.0,
) -> Float[Array, "..."]:
    """Computes nats per dimension of KL(N(mean, scale) || N(prior_mean, prior_scale)).

    The scales are standard deviations, given by their logs.
    """
    variance = jnp.exp(2 * (log_scale - prior_log_scale))
    distance = jnp.square((mean - prior_mean) * jnp.exp(-prior_log_scale))
    return 0.5 * (variance + distance - 1) - log_scale + prior_log_scale


class LogisticMixture(NamedTuple):
    """A mixture of logistics for each pixel, over pixels scaled to -1..1.

    The mean of a channel moves with the values of the channels before it, by a coefficient for each
    pair of channels, in the order (1, 0), (2, 0), (2, 1).
    """

    log_weights: Float[Array, "*shape mixture"]
    means: Float[Array, "*shape channels mixture"]
    log_scales: Float[Array, "*shape channels mixture"]
    coefficients: Float[Array, "*shape pairs mixture"]


def logistic_mixture_size(channels: int, mixtures: int) -> int:
    """Counts the parameters for a pixel."""
    return mixtures * (1 + 2 * channels + channels * (channels - 1) // 2)


def logistic_mixture_of(
    parameters: Float[Array, "*shape parameters"], channels: int
) -> LogisticMixture:
    """Makes the mixture of its unbounded parameters (Salimans et al. 2017, section 2.2).

    The paper has three coefficients for RGB; here there is one for each pair of channels.
    """
    pairs = channels * (channels - 1) // 2
    mixtures = parameters.shape[-1] // (1 + 2 * channels + pairs)
    leading = parameters.shape[:-1]
    weights, rest = jnp.split(parameters, [mixtures], axis=-1)
    rest = rest.reshape(*leading, 2 * channels + pairs, mixtures)
    means, log_scales, coefficients = jnp.split(rest, [channels, 2 * channels], axis=-2)
    return LogisticMixture(
        jax.nn.log_softmax(weights, axis=-1),
        means,
        jnp.maximum(log_scales, _LEAST_LOG_SCALE),
        jnp.tanh(coefficients),
    )


def _moved_means(mixture: LogisticMixture, x: Float[Array, "*shape channels"]) -> Array:
    """Computes the means of each channel given the values of the channels before it."""
    moved, pair = [], 0
    for channel in range(mixture.means.shape[-2]):
        mean = mixture.means[..., channel, :]
        for before in range(channel):
            mean = mean + mixture.coefficients[..., pair, :] * x[..., before, None]
            pair += 1
        moved.append(mean)
    return jnp.stack(moved, axis=-2)


def logistic_mixture_log_likelihood(
    parameters: Float[Array, "*#shape parameters"],
    x: Float[Array | np.ndarray, "*#shape channels"],
    levels: int,
) -> Float[Array, "..."]:
    """Computes the log-probability of pixels at one of `levels` equidistant values in -1..1.

    The probability of a level is the mixture's mass between the middles to its neighbours. The
    lowest and the highest level also have the tails, so that all levels sum to one (Salimans et al.
    2017, eq. 2).
    """
    mixture = logistic_mixture_of(parameters, x.shape[-1])
    centered = x[..., None] - _moved_means(mixture, x)
    inverse_scale = jnp.exp(-mixture.log_scales)
    half = 1 / (levels - 1)
    upper, lower = inverse_scale * (centered + half), inverse_scale * (centered - half)
    # The mass inside is sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)). The
    # difference cancels in the tails; the log of the product is exact there.
    log_width = math.log(2 * half) - mixture.log_scales
    inside = jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower) + _log1mexp(log_width)
    edge = 1 - half
    log_mass = jnp.where(
        x[..., None] < -edge,
        jax.nn.log_sigmoid(upper),
        jnp.where(x[..., None] > edge, jax.nn.log_sigmoid(-lower), inside),
    )
    return jax.nn.logsumexp(mixture.log_weights + jnp.sum(log_mass, axis=-2), axis=-1)


def _log1mexp(log_x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes log(1 - exp(-x)) from log x, also where x underflows."""
    small = log_x < -15
    x = jnp.exp(jnp.where(small, 0.0, log_x))
    return jnp.where(small, log_x - jnp.exp(log_x) / 2, jnp.log(-jnp.expm1(-x)))


def logistic_mixture_mean(
    parameters: Float[Array, "*shape parameters"], channels: int
) -> Float[Array, "*shape channels"]:
    """Computes the mean of each channel given that the channels before it are at their means.

    Each mean is clipped to -1..1.
    """
    mixture = logistic_mixture_of(parameters, channels)
    weights = jnp.exp(mixture.log_weights)
    means: list[Array] = []
    for channel in range(channels):
        so_far = jnp.stack([*means, *[jnp.zeros_like(weights[..., 0])] * (channels - channel)], -1)
        moved = _moved_means(mixture, so_far)[..., channel, :]
        means.append(jnp.clip(jnp.sum(weights * moved, axis=-1), -1, 1))
    return jnp.stack(means, axis=-1)


def logistic_mixture_sample(
    key: Key[Array, ""], parameters: Float[Array, "*shape parameters"], channels: int, levels: int
) -> Float[Array, "*shape channels"]:
    """Draws pixels in -1..1, each at one of `levels` equidistant values."""
    mixture = logistic_mixture_of(parameters, channels)
    choose, spread = jax.random.split(key)
    chosen = jax.random.categorical(choose, mixture.log_weights)[..., None]

    def pick(values):
        index = jnp.broadcast_to(chosen[..., None, :], (*values.shape[:-1], 1))
        return jnp.take_along_axis(values, index, axis=-1)

    picked = LogisticMixture(
        mixture.log_weights, pick(mixture.means), pick(mixture.log_scales),
        pick(mixture.coefficients),
    )  # fmt: skip
    shape = picked.means.shape[:-1]
    noise = jax.random.logistic(spread, shape) * jnp.exp(picked.log_scales[..., 0])
    values: list[Array] = []
    for channel in range(channels):
        so_far = jnp.stack([*values, *[jnp.zeros(shape[:-1])] * (channels - channel)], -1)
        drawn = _moved_means(picked, so_far)[..., channel, 0] + noise[..., channel]
        steps = jnp.round((jnp.clip(drawn, -1, 1) + 1) * (levels - 1) / 2)
        values.append(steps * 2 / (levels - 1) - 1)
    return jnp.stack(values, axis=-1)
