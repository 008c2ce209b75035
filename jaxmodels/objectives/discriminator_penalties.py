"""What is added to a discriminator's loss to keep it from running away, and its gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmodels import across
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.gradient_penalties import (
    Discriminator,
    Images,
    slope_from_one,
    squared_slope,
)
from jaxmodels.ops import diff_augment
from jaxmodels.protocol import Mean, PyTree, example_keys, mean_over


def penalty_gradient(
    config: AdversarialConfig,
    numbers: dict[str, Float[Array, ""]],
    score: Callable[[PyTree], Discriminator],
    params: PyTree,
    real: Images,
    fake: Images,
    key: Key[Array, ""],
    update: Int[Array, ""],
) -> tuple[PyTree, Mean]:
    """The gradient in the discriminator's parameters of all penalties of the config, and their
    value per example.

    score: parameters to the discriminator as a function of images. update: how many updates the
    discriminator had before, which says whether lazy penalties are due (Karras et al. 2020,
    appendix B).
    """

    def slopes(params):
        total = jnp.zeros(len(real))
        if config.r1:
            total += numbers["r1"] / 2 * squared_slope(score(params), real)
        if config.r2:
            total += numbers["r2"] / 2 * squared_slope(score(params), fake)
        if config.gradient_penalty:
            keys = example_keys(key, across.positions(len(real)))
            one = slope_from_one(score(params), real, fake, keys)
            total += numbers["gradient_penalty"] * one
        return config.lazy * total

    def consistencies(params):
        """Zhang et al. 2020, eq. 4; at fakes too, Zhao et al. 2021, section 3.1."""
        policy = config.diff_augment or ("translation",)
        total = jnp.zeros(len(real))
        for number, name in enumerate(("consistency", "consistency_fake")):
            if getattr(config, name):
                images = (real, fake)[number]
                keys = example_keys(jax.random.fold_in(key, number), across.positions(len(images)))
                changed = score(params)(diff_augment(images, keys, policy))
                total += numbers[name] * jnp.square(score(params)(images) - changed)
        return total

    def differentiated(penalty):
        def mean(params):
            values = penalty(params)
            return jnp.mean(values), mean_over(values)

        return lambda: jax.grad(mean, has_aux=True)(params)

    terms = []
    if config.penalizes_slope:
        terms.append(differentiated(slopes))
        if config.lazy > 1:
            terms = [_every(config.lazy, update, *terms, len(real))]
    if config.consistency or config.consistency_fake:
        terms.append(differentiated(consistencies))
    (gradient, value), *more = [term() for term in terms]
    for other, added in more:
        gradient = jax.tree.map(jnp.add, gradient, other)
        value = Mean(value.total + added.total, value.count)
    return gradient, value


def _every(period: int, update: Int[Array, ""], term: Callable, count: int) -> Callable:
    """The term in every period-th update; in the others zeros, at no cost."""
    flat, mean = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(term))
    nothing = flat, mean._replace(count=jnp.int32(count))
    return lambda: jax.lax.cond(update % period == 0, term, lambda: nothing)
