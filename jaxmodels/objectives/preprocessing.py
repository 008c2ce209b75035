"""Preprocessing as part of the objective, so that it runs inside the compiled step."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Key

from jaxmodels.protocol import Batch, BatchSpec, Hyperparameters, Objective, PyTree, State

Change = Callable[[Batch, Key[Array, ""]], Batch]  # traceable
# What an evaluation sums or maps: (state, batch, key) -> outputs
Function = Callable[[State, Batch, Key[Array, ""]], PyTree]

# These are folded into the key of a step. No index of a step, part or example is as large, so that
# the keys differ from all that an objective makes.
_PREPARE, _AUGMENT = 2**31 - 1, 2**31 - 2


def with_preprocessing(objective: Any, prepare: Change, augment: Change | None = None) -> Objective:
    """Makes an objective of stored batches from one of prepared batches.

    objective: an `Objective`, or an object that has its methods.
    prepare: changes every batch, before the objective sees it (normalisation, padding).
    augment: changes training batches, before they are prepared.

    Both get keys of their own. `prepared` does the same for other functions of a batch, which an
    evaluation sums or maps.
    """
    plain = Objective.of(objective)

    def augmented(function: Function) -> Function:
        on_prepared = prepared(function, prepare)

        def call(state: State, batch: Batch, key: Key[Array, ""]) -> PyTree:
            if augment is not None:
                batch = augment(batch, jax.random.fold_in(key, _AUGMENT))
            return on_prepared(state, batch, key)

        return call

    def init(key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        return plain.init(key, jax.eval_shape(prepare, spec, key), hyperparameters)

    return plain._replace(
        init=init,
        step=augmented(plain.step),
        evaluate=prepared(plain.evaluate, prepare),
        losses=augmented(plain.losses) if plain.losses else None,
    )


def prepared(function: Function, prepare: Change) -> Function:
    """Makes a function of stored batches from one of prepared batches.

    The function may be any that is called as function(state, batch, key), such as a classifier's
    `predict`. Its batches are prepared with the keys that `with_preprocessing` uses.
    """

    def call(state: State, batch: Batch, key: Key[Array, ""]) -> PyTree:
        return function(state, prepare(batch, jax.random.fold_in(key, _PREPARE)), key)

    return call
