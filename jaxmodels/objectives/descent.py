"""The state and the update of an objective that has one loss and one optimizer.

The state has "step", "hyperparameters", the learned parts ("params" and more), "optimizer" (the
moments) and "ema" (an average of the learned parts, or empty).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from jaxmodels.objectives.averaging import update_average
from jaxmodels.objectives.optimizers import OptimizerConfig, make_optimizer
from jaxmodels.objectives.schedules import scheduled_rate
from jaxmodels.objectives.spikes import norms_of
from jaxmodels.protocol import Hyperparameters, Mean, PyTree, State


def initial_state(
    config: OptimizerConfig,
    learned: Mapping[str, PyTree],
    hyperparameters: Hyperparameters,
    ema: bool = False,
) -> State:
    """Makes the state at step 0.

    learned: "params", and other parts that training changes (batch statistics, a codebook).
    hyperparameters: those of the config, and any that the objective adds.
    ema: keep an average of the learned parts; its decay is the hyperparameter "ema".
    """
    hyperparameters = {name: jnp.float32(value) for name, value in hyperparameters.items()}
    rule = make_optimizer(config, hyperparameters, hyperparameters["learning_rate"])
    return {
        "step": jnp.int32(0),
        "hyperparameters": hyperparameters,
        **learned,
        "optimizer": rule.init(learned["params"]),
        # The average is a copy, because two leaves that share a buffer cannot both be donated.
        "ema": jax.tree.map(jnp.copy, dict(learned)) if ema else {},
    }


def descend(
    config: OptimizerConfig,
    steps: int,
    state: State,
    gradients: PyTree,
    multipliers: PyTree | None = None,
    **changed: PyTree,
) -> State:
    """Makes the state after one update.

    steps: the length of the run, over which the learning rate may be laid out.
    gradients: of the parameters, as `gradients_of` gives them.
    multipliers: of each parameter's update, as `mup` gives them.
    changed: new values of the other learned parts, by name.
    """
    return descend_measured(config, steps, state, gradients, multipliers, **changed)[0]


def descend_measured(
    config: OptimizerConfig,
    steps: int,
    state: State,
    gradients: PyTree,
    multipliers: PyTree | None = None,
    **changed: PyTree,
) -> tuple[State, dict[str, Mean]]:
    """Makes the state after one update, as `descend`, and the metrics `gradient_norm` and
    `update_norm`, to look at a spike of the loss."""
    hyperparameters = state["hyperparameters"]
    rate = scheduled_rate(config, steps, hyperparameters, state["step"])
    rule = make_optimizer(config, hyperparameters, rate, multipliers)
    updates, moments = rule.update(gradients, state["optimizer"], state["params"])
    learned = {"params": optax.apply_updates(state["params"], updates), **changed}
    average = state["ema"]
    if average:
        average = update_average(average, learned, hyperparameters["ema"], state["step"])
    after = {"step": state["step"] + 1, "optimizer": moments, "ema": average}
    return {**state, **learned, **after}, norms_of(gradients, updates)


def learned_of(state: State, *names: str) -> dict[str, PyTree]:
    """Returns the parts of a state that evaluation uses: "params" and the named ones, from the
    average if the state keeps one."""
    source = state["ema"] or state
    return {name: source[name] for name in ("params", *names)}
