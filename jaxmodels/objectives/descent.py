"""The state and the update of an objective that has one loss and one optimizer.

The state has "step", "hyperparameters", the learned parts ("params" and more), "optimizer" (the
moments) and "ema" (an average of the learned parts, or empty). Where a model is trained in part,
"params" is what is trained and "frozen" what is not (see `parts`); with a decay of the rate from
layer to layer, "depths" has the layers above each parameter.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from jaxmodels.objectives.averaging import update_average
from jaxmodels.objectives.depths import depths_below_top
from jaxmodels.objectives.gradients import Differentiate, Differentiated
from jaxmodels.objectives.kept_statistics import modules_that_keep, statistics_kept
from jaxmodels.objectives.optimizers import OptimizerConfig, make_optimizer
from jaxmodels.objectives.parts import Parts, divide, merged_part, replaced, restricted
from jaxmodels.objectives.schedules import scheduled_rate
from jaxmodels.objectives.spikes import norms_of
from jaxmodels.protocol import Hyperparameters, Mean, PyTree, State


def initial_state(
    config: OptimizerConfig,
    learned: Mapping[str, PyTree],
    hyperparameters: Hyperparameters,
    ema: bool = False,
    key: Key[Array, ""] | None = None,
) -> State:
    """Makes the state at step 0.

    learned: "params", in the order in which the model makes them, and other parts that training
      changes (batch statistics, a codebook).
    hyperparameters: those of the config, and any that the objective adds.
    ema: keep an average of the learned parts; its decay is the hyperparameter "ema".
    key: of the initial state; adapters are drawn with it.

    Raises:
      InputError: parts to train that the model does not have.
    """
    hyperparameters = {name: jnp.float32(value) for name, value in hyperparameters.items()}
    parts, extra = divided(config, learned["params"], key)
    learned = {**learned, "params": parts.trained}
    rule = make_optimizer(config, hyperparameters, hyperparameters["learning_rate"])
    return {
        "step": jnp.int32(0),
        "hyperparameters": hyperparameters,
        **learned,
        **extra,
        "optimizer": rule.init(parts.trained),
        # The average is a copy, because two leaves that share a buffer cannot both be donated.
        "ema": jax.tree.map(jnp.copy, dict(learned)) if ema else {},
    }


def divided(
    config: OptimizerConfig, params: PyTree, key: Key[Array, ""] | None, *models: str
) -> tuple[Parts, dict[str, PyTree]]:
    """Divides parameters into what is trained and what is not, and makes the parts of a state that
    this needs: "frozen" where something is, "depths" where rates depend on the layer.

    models: names of the trees in `params`, where they are several models.
    """
    parts, extra = Parts(params, {}), {}
    if config.parts.is_partial:
        parts = divide(config.parts, params, key)
        # A model that is trained, or kept, as a whole has an empty tree in the other.
        parts = Parts(*({**{name: {} for name in models}, **tree} for tree in parts))
        extra["frozen"] = parts.frozen
    if config.parts.layer_decay != 1:
        depths = {name: depths_below_top(params[name]) for name in models}
        extra["depths"] = restricted(depths or depths_below_top(params), parts.trained)
    return parts, extra


def rate_factors(state: State) -> PyTree | None:
    """Returns the factor of each parameter's learning rate by its layer; None: all are 1."""
    if "depths" not in state:
        return None
    decay = state["hyperparameters"]["layer_decay"]
    return jax.tree.map(lambda depth: decay**depth, state["depths"])


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
    if multipliers is not None and "frozen" in state:
        multipliers = restricted(multipliers, state["params"])
    rule = make_optimizer(config, hyperparameters, rate, multipliers, rate_factors(state))
    updates, moments = rule.update(gradients, state["optimizer"], state["params"])
    learned = {"params": optax.apply_updates(state["params"], updates), **changed}
    average = state["ema"]
    if average:
        average = update_average(average, learned, hyperparameters["ema"], state["step"])
    after = {"step": state["step"] + 1, "optimizer": moments, "ema": average}
    return {**state, **learned, **after}, norms_of(gradients, updates)


def learned_of(state: State, *names: str) -> dict[str, PyTree]:
    """Returns the parts of a state that evaluation uses: "params", whole, and the named ones, from
    the average if the state keeps one."""
    source = state["ema"] or state
    learned = {name: source[name] for name in ("params", *names)}
    return {**learned, "params": merged_part(state, learned["params"])}


def with_learned(state: State, learned: Mapping[str, PyTree]) -> State:
    """Makes the state at step 0 whose learned parts, and their average, are others: the inverse of
    `learned_of`. Adapters stay as they were drawn."""
    learned = dict(learned)
    if "frozen" in state:
        parts = replaced(Parts(state["params"], state["frozen"]), learned["params"])
        learned["params"], state = parts.trained, {**state, "frozen": parts.frozen}
    average = jax.tree.map(jnp.copy, learned) if state["ema"] else {}
    return {**state, **learned, "ema": average}


def of_trained(function: Callable, state: State) -> Callable:
    """Makes a function of what is trained from one of all parameters, its first argument. Where a
    state has nothing that is frozen, it is the function itself."""
    if "frozen" not in state:
        return function
    modules = modules_that_keep(state["params"], state["frozen"], _collections_of(state))

    def call(trained: PyTree, *rest: Any, **named: Any) -> Any:
        with statistics_kept(modules):
            return function(merged_part(state, trained), *rest, **named)

    return call


def differentiated_in_trained(differentiate: Differentiate, state: State) -> Differentiate:
    """Makes a function that gives the gradients in what is trained, from one that takes all
    parameters and gives the gradients in these; XLA drops those that are not needed."""
    if "frozen" not in state:
        return differentiate
    whole = of_trained(differentiate, state)

    def call(trained: PyTree, *rest: Any, **named: Any) -> Differentiated:
        found = whole(trained, *rest, **named)

        def merged(part: PyTree) -> PyTree:
            # Of several models, those that have a turn.
            full = merged_part(state, part)
            return {name: full[name] for name in found.gradients}

        _, pull_back = jax.vjp(merged, trained)
        return found._replace(gradients=pull_back(found.gradients)[0])

    return call


def _collections_of(state: State) -> dict[str, PyTree]:
    """Returns what a model has beside its parameters."""
    statistics = {name: state[name] for name in ("batch_stats",) if name in state}
    return {**statistics, **state.get("collections", {})}
