"""Courses of the learning rate over a run."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import PyTree


def scheduled_rate(
    config: OptimizerConfig, steps: int, hyperparameters: PyTree, step: Int[Array, ""]
) -> Float[Array, ""]:
    """Computes the learning rate at a step of a run of `steps`.

    The cosine is half a period of SGDR's (Loshchilov & Hutter 2017, equation 5).
    """
    at = step.astype(jnp.float32)
    factor = jnp.ones(())

    def falling(share):
        """Rescales a share that falls from 1 to 0, so that it ends at the final rate."""
        if not config.final_rate:
            return share
        return hyperparameters["final_rate"] + (1 - hyperparameters["final_rate"]) * share

    if config.schedule in ("cosine", "warmup_cosine"):
        warmup = min(config.warmup_steps, steps) if config.schedule == "warmup_cosine" else 0
        progress = jnp.clip((at - warmup) / max(steps - warmup, 1), 0, 1)
        factor = falling(0.5 * (1 + jnp.cos(jnp.pi * progress)))
        if warmup:
            factor = jnp.where(step < warmup, (at + 1) / warmup, factor)
    if config.schedule == "trapezoid":
        factor = _trapezoid(config, steps, hyperparameters, at, falling)
    if config.schedule == "step":
        decays = (step // config.decay_every).astype(jnp.float32)
        factor = hyperparameters["decay_rate"] ** decays
    if config.schedule == "milestones":
        decays = jnp.sum(step >= jnp.array(config.milestones)).astype(jnp.float32)
        factor = hyperparameters["decay_rate"] ** decays
    return hyperparameters["learning_rate"] * factor


def _trapezoid(
    config: OptimizerConfig,
    steps: int,
    hyperparameters: PyTree,
    at: Float[Array, ""],
    falling: Callable[[Array], Array],
) -> Float[Array, ""]:
    """Computes the factor of a rate that rises linearly, stays, and falls linearly until `steps`.

    Source: Zhai et al. 2022, section 3.5, and Hägele et al. 2024. Where the fall meets the rise,
    the lower of the two counts.
    """
    factor = jnp.ones(())
    if config.warmup_steps:
        factor = jnp.minimum(factor, (at + 1) / config.warmup_steps)
    if config.schedule_ends:
        cooldown = hyperparameters["cooldown"] * steps
        fall = jnp.minimum(1.0, jnp.maximum(steps - at, 0) / cooldown)
        factor = jnp.minimum(factor, falling(fall))
    return factor
