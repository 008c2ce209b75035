"""Preprocessing as a part of the objective, so that it runs inside the compiled step."""

from collections.abc import Callable

import jax

from jaxmodels.protocol import Batch, Objective


def with_preprocessing(objective: Objective, prepare: Callable[[Batch], Batch]) -> Objective:
    """The objective on batches as stored: each passes through `prepare` (traceable) first."""

    def init(key, spec, hyperparameters):
        return objective.init(key, jax.eval_shape(prepare, spec), hyperparameters)

    def prepared(function):
        return function and (lambda state, batch, key: function(state, prepare(batch), key))

    return objective._replace(
        init=init,
        step=prepared(objective.step),
        evaluate=prepared(objective.evaluate),
        predict=prepared(objective.predict),
    )
