"""Regression and several labels of a row as a program of encoded rows."""

from collections.abc import Mapping
from typing import Any

import jax

from experiments.exports.common import Exports, one_of, prediction_programs
from jaxmodels.data.tables.targets import Target
from jaxmodels.objectives.multilabel import MultiLabel
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.objectives.regression import Regression
from jaxmodels.protocol import Source


def table_programs(
    objective: Regression | MultiLabel,
    prepare: Change,
    train: Source,
    target: Target,
    facts: Mapping[str, Any],
) -> Exports:
    """Exports `predict`: encoded rows -> predictions in the unit of the target, or probabilities of
    labels.

    facts: what else a reader has to know.
    """
    spec = {name: one_of(leaf) for name, leaf in train.spec(1).items() if name != "target"}
    meanings = {
        **dict.fromkeys(spec, "a column of the table"),
        "prediction": f"of {target.column}, in its unit",
        "probabilities": "of each label, in the order of labels",
    }
    numbers = isinstance(objective, Regression)

    def predict(state: Any, batch: Any, key: Any) -> dict[str, jax.Array]:
        outputs = objective.predict(state, batch, key)["outputs"]
        if numbers:
            return {"prediction": outputs[:, 0] * target.std + target.mean}
        return {"probabilities": jax.nn.sigmoid(outputs)}

    told = facts if numbers else {**facts, "labels": list(target.names)}
    return prediction_programs(
        "predict", predict, prepare, spec, meanings, told, parts=("batch_stats",)
    )
