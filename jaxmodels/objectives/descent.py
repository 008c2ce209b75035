"""The state and the update of an objective with one loss and one optimizer."""

import jax
import jax.numpy as jnp
import optax

from jaxmodels.objectives.averaging import update_average
from jaxmodels.objectives.optimizers import OptimizerConfig, make_optimizer, scheduled_rate
from jaxmodels.protocol import Hyperparameters, PyTree, State


def initial_state(
    config: OptimizerConfig, learned: dict[str, PyTree], hyperparameters: Hyperparameters, ema: bool
) -> State:
    """Step 0 of `learned`: "params", and what else training changes (batch statistics, a codebook).

    ema: keep an average of all that is learned, at the rate of the hyperparameter "ema".
    """
    hyperparameters = {name: jnp.float32(value) for name, value in hyperparameters.items()}
    rule = make_optimizer(config, hyperparameters, hyperparameters["learning_rate"])
    return {
        "step": jnp.int32(0),
        "hyperparameters": hyperparameters,
        **learned,
        "optimizer": rule.init(learned["params"]),
        # A copy: two leaves of one buffer cannot both be donated.
        "ema": jax.tree.map(jnp.copy, learned) if ema else {},
    }


def descend(
    config: OptimizerConfig, steps: int, state: State, gradients: PyTree, **changed: PyTree
) -> State:
    """The state after one update of its parameters by `gradients`, and of the rest to `changed`."""
    hyperparameters = state["hyperparameters"]
    rate = scheduled_rate(config, steps, hyperparameters, state["step"])
    rule = make_optimizer(config, hyperparameters, rate)
    updates, moments = rule.update(gradients, state["optimizer"], state["params"])
    learned = {"params": optax.apply_updates(state["params"], updates), **changed}
    average = state["ema"]
    if average:
        average = update_average(average, learned, hyperparameters["ema"], state["step"])
    after = {"step": state["step"] + 1, "optimizer": moments, "ema": average}
    return {**state, **learned, **after}


def learned_of(state: State, *names: str) -> dict[str, PyTree]:
    """Parameters and the named other parts to evaluate with: the average, if there is one."""
    source = state["ema"] or state
    return {name: source[name] for name in ("params", *names)}
