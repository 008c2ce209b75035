"""Penalties on the slope and the inconsistency of a discriminator, added to its loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmodels import across
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.adversarial_losses import Logits
from jaxmodels.objectives.gradient_penalties import (
    Discriminator,
    Images,
    slope_from_one,
    squared_slope,
)
from jaxmodels.ops import diff_augment
from jaxmodels.protocol import Mean, PyTree, example_keys, mean_over

Weights = dict[str, Float[Array, ""]]


def penalty_gradient(
    config: AdversarialConfig,
    weights: Weights,
    score: Callable[[PyTree, Images], Logits],
    params: PyTree,
    real: Images,
    fake: Images,
    key: Key[Array, ""],
    updates: Int[Array, ""],
) -> tuple[PyTree, Mean]:
    """Differentiates the mean of all penalties of the config in the discriminator's parameters;
    gives the gradient and the penalties.

    weights: traced numbers, by name; a weight of 0 in the config leaves its term out.
    score: the discriminator as a function of its parameters and images.
    updates: the number of earlier updates of the discriminator, which decides whether lazy
      penalties are due (Karras et al. 2020, appendix B).
    """

    def differentiated(penalty):
        def mean(params):
            values = penalty(config, weights, lambda images: score(params, images), real, fake, key)
            return jnp.mean(values), mean_over(values)

        return lambda: jax.grad(mean, has_aux=True)(params)

    terms = []
    if config.penalizes_slope:
        slopes = differentiated(slope_penalties)
        terms.append(slopes if config.lazy == 1 else _every(config.lazy, updates, slopes, real))
    if config.consistency or config.consistency_fake:
        terms.append(differentiated(consistency_penalties))
    (gradient, value), *others = [term() for term in terms]
    for other, added in others:
        gradient = jax.tree.map(jnp.add, gradient, other)
        value = Mean(value.total + added.total, value.count)
    return gradient, value


def slope_penalties(
    config: AdversarialConfig,
    weights: Weights,
    discriminator: Discriminator,
    real: Images,
    fake: Images,
    key: Key[Array, ""],
) -> Logits:
    """Weighs and adds R1, R2 and the gradient penalty per example, times `lazy`."""
    total = jnp.zeros(len(real))
    if config.r1:
        total += weights["r1"] / 2 * squared_slope(discriminator, real)
    if config.r2:
        total += weights["r2"] / 2 * squared_slope(discriminator, fake)
    if config.gradient_penalty:
        keys = example_keys(key, across.positions(len(real)))
        total += weights["gradient_penalty"] * slope_from_one(discriminator, real, fake, keys)
    return config.lazy * total


def consistency_penalties(
    config: AdversarialConfig,
    weights: Weights,
    discriminator: Discriminator,
    real: Images,
    fake: Images,
    key: Key[Array, ""],
) -> Logits:
    """Weighs and adds the squared change of logits under augmentation, per example: of real images
    (Zhang et al. 2020, eq. 4) and of fakes (Zhao et al. 2021, section 3.1)."""
    policy = config.diff_augment or ("translation",)
    total = jnp.zeros(len(real))
    for number, (name, images) in enumerate((("consistency", real), ("consistency_fake", fake))):
        if getattr(config, name):
            keys = example_keys(jax.random.fold_in(key, number), across.positions(len(images)))
            augmented = discriminator(diff_augment(images, keys, policy))
            total += weights[name] * jnp.square(discriminator(images) - augmented)
    return total


def _every(period: int, updates: Int[Array, ""], term: Callable, real: Images) -> Callable:
    """Makes a function that computes the term in every period-th update, and else gives zeros."""
    flat, mean = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(term))
    nothing = flat, mean._replace(count=jnp.int32(len(real)))
    return lambda: jax.lax.cond(updates % period == 0, term, lambda: nothing)
