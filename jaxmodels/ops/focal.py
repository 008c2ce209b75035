"""Losses of binary decisions most of which are easy, from logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def binary_cross_entropy(
    logits: Float[Array, "*decisions"], targets: Float[Array, "*decisions"]
) -> Float[Array, "*decisions"]:
    """Computes -t log(p) - (1 - t) log(1 - p) in nats, for p the sigmoid of the logits."""
    return jax.nn.softplus(logits) - logits * targets


def sigmoid_focal(
    logits: Float[Array, "*decisions"],
    targets: Float[Array, "*decisions"],
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Array, "*decisions"]:
    """Computes the focal loss (Lin et al. 2017, equation 5): the cross-entropy, times the
    probability of the other outcome to the power of gamma, times alpha where the target is 1 and
    1 - alpha where it is 0."""
    # log(1 - p_t), where p_t is the probability of the target.
    log_miss = -jax.nn.softplus(logits * (2 * targets - 1))
    weights = (1 - alpha) + (2 * alpha - 1) * targets
    return weights * jnp.exp(gamma * log_miss) * binary_cross_entropy(logits, targets)


def varifocal(
    logits: Float[Array, "*decisions"],
    targets: Float[Array, "*decisions"],
    alpha: float = 0.75,
    gamma: float = 2.0,
) -> Float[Array, "*decisions"]:
    """Computes the varifocal loss (Zhang et al. 2021, equation 2): the cross-entropy with a target
    of quality in 0..1, times the target where it is above 0, and alpha p^gamma elsewhere.

    As in the authors' code, no gradient flows through the weight.
    """
    probability = jax.lax.stop_gradient(jax.nn.sigmoid(logits))
    weights = jnp.where(targets > 0, targets, alpha * probability**gamma)
    return weights * binary_cross_entropy(logits, targets)
