"""Preprocessing as a part of the objective, so that it runs inside the compiled step."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Key

from jaxmodels.protocol import Batch, Objective

# No index of a step, part or example is as large.
_PREPARE = 2**31 - 1


def with_preprocessing(
    objective: Objective, prepare: Callable[[Batch, Key[Array, ""]], Batch]
) -> Objective:
    """The objective on batches as stored: each passes through `prepare` (traceable) first, which
    has a key of its own for what is random (augmentation, binarisation)."""

    def init(key, spec, hyperparameters):
        return objective.init(key, jax.eval_shape(prepare, spec, key), hyperparameters)

    def prepared(function):
        def call(state, batch, key):
            return function(state, prepare(batch, jax.random.fold_in(key, _PREPARE)), key)

        return function and call

    return objective._replace(
        init=init,
        step=prepared(objective.step),
        evaluate=prepared(objective.evaluate),
        predict=prepared(objective.predict),
    )
