"""The state of two networks that play against each other, and the update of each.

"params" and "optimizer" (the moments) have a part for each player, "ema" is an average of the
generator's parameters, or empty. As in `descent`, "frozen" has what is not trained.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from jaxmodels.objectives.averaging import update_average
from jaxmodels.objectives.descent import divided, rate_factors, with_learned
from jaxmodels.objectives.optimizers import OptimizerConfig, make_optimizer
from jaxmodels.objectives.parts import merged_part
from jaxmodels.objectives.schedules import scheduled_rate
from jaxmodels.protocol import Hyperparameters, PyTree, State

PLAYERS = ("generator", "discriminator")


def initial_players(
    config: OptimizerConfig,
    steps: int,
    params: Mapping[str, PyTree],
    hyperparameters: Hyperparameters,
    ema: bool,
    key: Key[Array, ""],
) -> State:
    """Makes the state at step 0.

    steps: the length of the run, over which the learning rates may be laid out.
    params: of each player.
    hyperparameters: those of the config, "discriminator_learning_rate", and others.
    ema: keep an average of the generator; its decay is the hyperparameter "ema".
    key: of the initial state; adapters are drawn with it.
    """
    hyperparameters = {name: jnp.float32(value) for name, value in hyperparameters.items()}
    parts, extra = divided(config, params, key, *PLAYERS)
    params = parts.trained
    state = {
        "step": jnp.int32(0),
        "hyperparameters": hyperparameters,
        "params": params,
        **extra,
        # The average is a copy, because two leaves of one buffer cannot both be donated.
        "ema": jax.tree.map(jnp.copy, params["generator"]) if ema else {},
    }
    rules = {player: _rule(config, steps, state, player) for player in PLAYERS}
    state["optimizer"] = {player: rules[player].init(params[player]) for player in PLAYERS}
    return state


def update_player(
    config: OptimizerConfig, steps: int, state: State, player: str, gradients: PyTree
) -> State:
    """Updates one player by the gradients of its parameters.

    steps: the length of the run, over which the learning rates may be laid out.
    """
    rule, params = _rule(config, steps, state, player), state["params"][player]
    updates, moments = rule.update(gradients, state["optimizer"][player], params)
    return {
        **state,
        "params": {**state["params"], player: optax.apply_updates(params, updates)},
        "optimizer": {**state["optimizer"], player: moments},
    }


def end_step(state: State) -> State:
    """Counts a step, and moves the average towards the generator as it is now."""
    average = state["ema"]
    if average:
        new, decay = state["params"]["generator"], state["hyperparameters"]["ema"]
        average = update_average(average, new, decay, state["step"])
    return {**state, "step": state["step"] + 1, "ema": average}


def whole_player(state: State, player: str) -> PyTree:
    """Returns all parameters of a player, trained or not."""
    return merged_part(state, state["params"][player], player)


def learned_generator(state: State) -> PyTree:
    """Returns all parameters of the generator, from the average if there is one."""
    return merged_part(state, state["ema"] or state["params"]["generator"], "generator")


def learned_of_players(state: State, *others: str) -> dict[str, PyTree]:
    """Returns the parameters of both networks, of the generator's the average if there is one, and
    other parts of the state."""
    params = {**state["params"], "generator": state["ema"] or state["params"]["generator"]}
    return {"params": merged_part(state, params), **{name: state[name] for name in others}}


def players_with_learned(state: State, learned: Mapping[str, PyTree]) -> State:
    """Makes the state at step 0 whose networks are others: the inverse of `learned_of_players`."""
    state = with_learned({**state, "ema": {}}, learned) | {"ema": state["ema"]}
    if state["ema"]:
        state["ema"] = jax.tree.map(jnp.copy, state["params"]["generator"])
    return state


def _rule(
    config: OptimizerConfig, steps: int, state: State, player: str
) -> optax.GradientTransformation:
    hyperparameters, factors = state["hyperparameters"], rate_factors(state)
    if player == "discriminator":
        rate = hyperparameters["discriminator_learning_rate"]
        hyperparameters = {**hyperparameters, "learning_rate": rate}
    rate = scheduled_rate(config, steps, hyperparameters, state["step"])
    factors = factors and factors[player]
    return make_optimizer(config, hyperparameters, rate, factors=factors)
