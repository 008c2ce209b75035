"""What experiments.table shows of an evaluation, and the lines of its predictions."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.special

from experiments.parts.class_predictions import prediction_line
from jaxmodels.data.tables import Target
from jaxmodels.metrics import (
    average_precisions,
    classification_report,
    expected_calibration_error,
    label_report,
)
from jaxmodels.pictures import confusion_figure, prediction_figure
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from jaxmodels.train.experiment import PerBatch


class Report(NamedTuple):
    """The findings of evaluations of a target.

    predict: gives "outputs", or "logits" of classes. trained_on: rows of each class or label.
    """

    target: Target
    predict: "PerBatch"
    trained_on: dict[str, int]

    def regression(self, evaluation: Evaluation) -> Findings | None:
        """Draws predictions against true values after the last evaluation."""
        if evaluation.occasion != "last":
            return None
        outputs = evaluation.map(self.predict)["outputs"][:, 0]
        scaled = evaluation.examples(np.arange(len(outputs)))["target"]
        true, predicted = (_in_unit(self.target, values) for values in (scaled, outputs))
        title = f"{evaluation.split}, step {evaluation.step}"
        name = self.target.column
        return Findings(
            record={"step": evaluation.step, "scores": dict(evaluation.scores)},
            pictures={"predictions": partial(prediction_figure, true, predicted, name, title)},
        )

    def classification(self, evaluation: Evaluation) -> Findings | None:
        """Makes scores per class and a confusion matrix after the last evaluation."""
        if evaluation.occasion != "last":
            return None
        sums, names = evaluation.sums, self.target.names
        record = {
            "step": evaluation.step,
            "loss": sums.loss.value(),
            "top5": sums.top5.value(),
            "ece": expected_calibration_error(sums.calibration),
            **classification_report(sums.confusion, names),
            "trained_on": self.trained_on,
        }
        title = f"{evaluation.split}, step {evaluation.step}"
        figure = partial(confusion_figure, sums.confusion, names, title)
        return Findings(record=record, pictures={"confusion": figure})

    def multilabel(self, evaluation: Evaluation) -> Findings:
        """Adds the mean average precision, which needs all predictions, and scores per label."""
        outputs = evaluation.map(self.predict)["outputs"]
        truth = evaluation.examples(np.arange(len(outputs)))["target"] == 1
        precisions = average_precisions(truth, outputs)
        known = precisions[~np.isnan(precisions)]
        scores = {"map": float(known.mean()) if len(known) else float("nan")}
        record = label_report(evaluation.sums.counts, precisions, self.target.names)
        record = {"step": evaluation.step, **record, "trained_on": self.trained_on}
        return Findings(scores, record)


def report_of(report: Report) -> Callable[[Evaluation], Findings | None]:
    """Chooses the report of a target."""
    return getattr(report, report.target.task)


def write_line(target: Target, outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Makes one line of predictions: a number, a class or labels, with their probabilities."""
    if target.task == "regression":
        return {"prediction": float(_in_unit(target, outputs["outputs"][0]))}
    if target.task == "classification":
        return prediction_line(target.names, outputs)
    probabilities = scipy.special.expit(outputs["outputs"].astype(np.float64))
    labels = [name for name, share in zip(target.names, probabilities) if share > 0.5]
    by_name = dict(zip(target.names, map(float, probabilities)))
    return {"labels": labels, "probabilities": by_name}


def _in_unit(target: Target, scaled: np.ndarray) -> np.ndarray:
    return np.asarray(scaled, np.float64) * target.std + target.mean
