"""The average precision of a detector on a split, by class and by size."""

import math
from typing import Any

from jaxmodels.data.boxes import BoxData
from jaxmodels.metrics.average_precision import AREAS, MOST, AveragePrecision, average_precision
from jaxmodels.ops.boxes import Detections
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

AP_SCORES = {
    "ap": Score("higher", "", "COCO's AP: mean over IoU 0.5 to 0.95, recalls and classes."),
    "ap50": Score("higher", "", "Average precision at an IoU of 0.5."),
    "ap75": Score("higher", "", "Average precision at an IoU of 0.75."),
}


def report(data: BoxData, predict: Any, evaluation: Evaluation) -> Findings:
    """Scores the detections of a split; every picture counts once."""
    found: Detections = evaluation.map(predict)
    truth, names = data.truth(evaluation.split), data.class_names
    precision = average_precision(found, truth, len(names))
    scores = scores_of(precision)
    return Findings(scores=scores, record={**scores, **record_of(precision, names)})


def scores_of(precision: AveragePrecision) -> dict[str, float]:
    """Returns the numbers that runs are compared by."""
    thresholds = {"ap": None, "ap50": 0.5, "ap75": 0.75}
    return {name: precision.mean(threshold) for name, threshold in thresholds.items()}


def record_of(precision: AveragePrecision, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns AP by class and by size; None where there is no object."""

    def known(value: float) -> float | None:
        return None if math.isnan(value) else value

    per_class = {
        name: {"ap": known(ap), "ap50": known(ap50)}
        for name, ap, ap50 in zip(
            names, precision.per_class(), precision.per_class(0.5), strict=True
        )
    }
    sizes = {area: known(precision.mean(area=area)) for area in AREAS if area != "all"}
    return {
        "per_class": per_class,
        "by_size": sizes,
        "average_recall": known(precision.average_recall()),
        "most_detections": MOST,
    }
