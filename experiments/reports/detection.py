"""What experiments.detection shows of an evaluation: AP, errors by kind, curves and pictures."""

import math
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from experiments.reports.detection_figures import Shown, boxes_figure, curves_figure
from jaxmodels.data.boxes import BoxData
from jaxmodels.data.boxes.records import pixels_of
from jaxmodels.data.dataset import TRAIN
from jaxmodels.metrics.average_precision import (
    AREAS,
    AveragePrecision,
    average_precision,
    by_pycocotools,
)
from jaxmodels.metrics.detection_errors import (
    HIT,
    IGNORED,
    Verdicts,
    best_score,
    errors_by_kind,
    verdicts,
)
from jaxmodels.metrics.detection_matching import MOST
from jaxmodels.protocol import Score
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from jaxmodels.train.experiment import PerBatch

AP_SCORES = {
    "ap": Score("higher", "", "COCO's average precision: mean over IoUs 0.5 to 0.95 and classes."),
    "ap50": Score("higher", "", "Average precision at an IoU of 0.5."),
    "ap75": Score("higher", "", "Average precision at an IoU of 0.75."),
}
_WORST = 12  # pictures that are shown
_LISTED = 50  # pictures that are listed


class _Found(NamedTuple):
    """Detections of a split on the host, in pixels of the pictures as they are stored."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def report(data: BoxData, predict: "PerBatch", evaluation: Evaluation) -> Findings:
    """Makes average precision after each evaluation. After the last one, it is that of pycocotools
    itself, and there are scores per class and by the size of objects, errors by kind, curves and
    the worst pictures.

    predict: maps a batch to `Detections` in pixels of the pictures as they are stored.
    """
    mapped = evaluation.map(predict)
    found = _Found(*(np.asarray(getattr(mapped, name)) for name in _Found._fields))
    truth, classes = data.truth(evaluation.split), len(data.class_names)
    if not sum(data.counts(evaluation.split)):
        print(
            f"note: {evaluation.split} has no objects to find, and so no average precision",
            file=sys.stderr,
        )
    if evaluation.occasion != "last":
        return Findings(scores=_scores(average_precision(found, truth, classes, areas=("all",))))
    precision = by_pycocotools(found, truth, classes)
    judged = verdicts(found, truth)
    least = best_score(found, judged)
    title = f"{evaluation.split}, step {evaluation.step}"
    order, mistakes = worst_first(found, judged, least)
    record = {
        "step": evaluation.step,
        **record_of(precision, data, evaluation.split),
        "errors": {
            kind: {"count": error.count, "cost": _plain(error.cost)}
            for kind, error in errors_by_kind(found, truth, classes, least).items()
        },
        "score_threshold": least,
        "worst": [
            {"input": data.key(evaluation.split, row), "mistakes": int(mistakes[row])}
            for row in order[:_LISTED].tolist()
            if mistakes[row]
        ],
    }
    shown = partial(_shown, data, evaluation.split, found, judged, least)
    above = f"{title}: the worst pictures, at scores of {least:.2f} and above"
    return Findings(
        scores=_scores(precision),
        record=record,
        pictures={
            "precision_recall": partial(
                curves_figure, precision, data.class_names, f"{title}, IoU 0.5"
            ),
            "detections": lambda: boxes_figure([shown(int(r)) for r in order[:_WORST]], above),
        },
    )


def _scores(precision: AveragePrecision) -> dict[str, float]:
    """Returns the scores of `AP_SCORES`; NaN for a split without objects, which files of the run
    have as null."""
    means = precision.mean(), precision.mean(0.5), precision.mean(0.75)
    return dict(zip(AP_SCORES, means))


def record_of(precision: AveragePrecision, data: BoxData, split: str) -> dict[str, Any]:
    """Makes the scores of an evaluation's record; None stands for one of no objects."""
    columns = {
        "ap": precision.per_class(),
        "ap50": precision.per_class(0.5),
        "ap75": precision.per_class(0.75),
        "support": data.counts(split),
    }
    rows = zip(*columns.values(), strict=True)
    per_class = {
        name: {column: _plain(value) for column, value in zip(columns, row, strict=True)}
        for name, row in zip(data.class_names, rows, strict=True)
    }
    by_area = {f"ap_{area}": _plain(precision.mean(area=area)) for area in AREAS if area != "all"}
    return {
        **{name: _plain(score) for name, score in _scores(precision).items()},
        **by_area,
        "average_recall": _plain(precision.average_recall()),
        "most_detections_of_a_class": MOST,
        "per_class": per_class,
        "trained_on": dict(zip(data.class_names, data.counts(TRAIN), strict=True)),
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def worst_first(
    found: _Found, judged: Verdicts, least: float
) -> tuple[Int[np.ndarray, " picture"], Int[np.ndarray, " picture"]]:
    """Orders the pictures by their F1 among detections that score at least `least`, the worst
    first; of equal ones that with more mistakes first. Returns also the mistakes of each picture:
    false detections, and objects that none of these hits."""
    sure = found.scores >= least
    hits = ((judged.kind == HIT) & sure).sum(1)
    wrong = ((judged.kind > HIT) & (judged.kind != IGNORED) & sure).sum(1)
    all_hits = (judged.kind == HIT).sum(1)
    objects = all_hits + np.array([int(unhit.sum()) for unhit in judged.unhit])
    mistakes = wrong + objects - hits
    f1 = 2 * hits / np.maximum(2 * hits + mistakes, 1)
    f1 = np.where(hits + mistakes > 0, f1, 1.0)
    return np.lexsort((-mistakes, f1)), mistakes


def _shown(
    data: BoxData, split: str, found: _Found, judged: Verdicts, least: float, row: int
) -> Shown:
    """Prepares one picture, as it is stored, for `boxes_figure`."""
    [record] = data.records[split].read([row])
    true, names = data.truth(split)[row], data.class_names
    sure = (judged.kind[row] >= 0) & (found.scores[row] >= least)
    labels, scores = found.labels[row][sure], found.scores[row][sure]
    missed = _not_hit(judged, row, sure, len(true.labels)) & ~true.crowd
    return Shown(
        pixels=pixels_of(record["image"]),
        boxes=found.boxes[row][sure],
        texts=[f"{names[label]} {score:.2f}" for label, score in zip(labels, scores)],
        kinds=judged.kind[row][sure],
        missed=true.boxes[missed],
        missed_texts=[names[label] for label in true.labels[missed]],
        true=true.boxes[~missed],
        title=data.key(split, row),
    )


def _not_hit(
    judged: Verdicts, row: int, sure: Bool[np.ndarray, " most"], objects: int
) -> Bool[np.ndarray, " {objects}"]:
    """Marks the objects that no sure detection hits."""
    left = np.ones(objects, bool)
    left[judged.object[row][sure & (judged.kind[row] == HIT)]] = False
    return left
