"""Preprocessing as a part of the objective, so that it runs inside the compiled step."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Key

from jaxmodels.protocol import Batch, Objective

Change = Callable[[Batch, Key[Array, ""]], Batch]  # traceable

# No index of a step, part or example is as large.
_PREPARE, _AUGMENT = 2**31 - 1, 2**31 - 2


def with_preprocessing(
    objective: Objective, prepare: Change, augment: Change | None = None
) -> Objective:
    """The objective on batches as stored: each passes through `prepare` first, and in training
    through `augment` before that; both have keys of their own for what is random in them."""

    def init(key, spec, hyperparameters):
        return objective.init(key, jax.eval_shape(prepare, spec, key), hyperparameters)

    def prepared(function):
        def call(state, batch, key):
            return function(state, prepare(batch, jax.random.fold_in(key, _PREPARE)), key)

        return function and call

    def augmented(step):
        def call(state, batch, key):
            return step(state, augment(batch, jax.random.fold_in(key, _AUGMENT)), key)

        return step if augment is None else call

    return objective._replace(
        init=init,
        step=augmented(prepared(objective.step)),
        evaluate=prepared(objective.evaluate),
        predict=prepared(objective.predict),
    )
