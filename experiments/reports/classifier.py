"""What experiments.classifier shows of an evaluation: scores per class, and wrong predictions."""

from collections.abc import Callable
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from experiments.parts.class_predictions import probabilities_of
from jaxmodels.data.absent import Absent
from jaxmodels.data.images import ImageData
from jaxmodels.metrics import classification_report, expected_calibration_error
from jaxmodels.pictures import confusion_figure, image_grid
from jaxmodels.train import Evaluation, Findings


def class_counts(data: ImageData) -> Int[np.ndarray, " classes"]:
    """Counts the training images of each class."""
    return np.bincount(np.asarray(data.labels("train")), minlength=len(data.class_names))


def class_balance(data: ImageData, most: int = 10) -> str:
    """Lists how many training images each class has, most first; of many classes the commonest and
    the range of the others. Nothing is known of images that are absent."""
    if isinstance(data, Absent):
        return ""
    counts = class_counts(data)
    order = np.argsort(-counts, kind="stable")
    listed = ", ".join(f"{data.class_names[row]} {counts[row]:,}" for row in order[:most])
    others = counts[order[most:]]
    if not len(others):
        return listed
    return f"{listed} and {len(others):,} more, {others.min():,} to {others.max():,} images each"


def report(data: ImageData, predict, evaluation: Evaluation) -> Findings | None:
    """Makes scores per class and pictures after the last evaluation."""
    if evaluation.occasion != "last":
        return None
    names, sums = data.class_names, evaluation.sums
    record = {
        "step": evaluation.step,
        "loss": sums.loss.value(),
        "top5": sums.top5.value(),
        "ece": expected_calibration_error(sums.calibration),
        **classification_report(sums.confusion, names),
    }
    counts = class_counts(data)
    record["trained_on"] = dict(zip(names, counts.tolist(), strict=True))
    mistakes = mistakes_of(data, predict, evaluation)
    if named := named_mistakes(mistakes, data, evaluation.split):
        record["misclassified"] = named
    title = f"{evaluation.split}, step {evaluation.step}"
    pictures = {
        "confusion": partial(confusion_figure, sums.confusion, names, title),
        "misclassified": misclassified(mistakes, evaluation, title, names=_files(data, evaluation)),
    }
    return Findings(record=record, pictures=pictures)


class Mistakes(NamedTuple):
    """Wrong predictions of a split, the most confident first."""

    rows: Int[np.ndarray, " mistake"]
    true: list[str]
    predicted: list[str]
    confidence: Float[np.ndarray, " mistake"]
    of: int  # examples of the split


def mistakes_of(data: ImageData, predict, evaluation: Evaluation) -> Mistakes:
    """Finds the wrong predictions of a split."""
    logits, labels = evaluation.map(predict)["logits"], data.labels(evaluation.split)
    # As `prediction_line` computes them, so that both files show the same numbers.
    confidence = probabilities_of(logits).max(-1)
    wrong = np.flatnonzero(logits.argmax(-1) != labels)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")]
    names = data.class_names
    true = [names[labels[row]] for row in rows]
    predicted = [names[logits[row].argmax()] for row in rows]
    return Mistakes(rows, true, predicted, confidence[rows], len(labels))


def _files(data: ImageData, evaluation: Evaluation) -> Callable[[int], str]:
    """Makes the function that names the file of an image; "" for images that have none."""
    if not data.records:
        return lambda row: ""
    key = data.records[evaluation.split].key

    def name(row: int) -> str:
        path = PurePosixPath(key(row))
        # The end of a long name tells more than its beginning alone.
        short = len(path.name) <= 15
        return (path.name if short else f"{path.name[:5]}…{path.name[-9:]}") if path.suffix else ""

    return name


def misclassified(
    mistakes: Mistakes,
    evaluation: Evaluation,
    title: str,
    most: int = 40,
    names: Callable[[int], str] = lambda row: "",
):
    """Makes a function that draws wrong predictions; None without any.

    names: of an image's file, by its row; "" for none.
    """
    count = len(mistakes.rows)
    if not count:
        return None
    title += f": {count} of {mistakes.of} wrong (true > predicted, confidence)"
    shown = mistakes.rows[:most]
    columns = zip(mistakes.true, mistakes.predicted, mistakes.confidence)
    titles = [f"{true} > {guess}\n{sure:.2f}" for true, guess, sure in columns][:most]
    titles = [f"{above}\n{names(int(row))}".strip() for above, row in zip(titles, shown)]
    return lambda: image_grid(evaluation.examples(shown)["image"], titles, title=title)


def named_mistakes(
    mistakes: Mistakes, data: ImageData, split: str, most: int = 200
) -> list[dict[str, Any]]:
    """Lists wrong predictions by the names of their records; images in memory have none."""
    if not data.records:
        return []
    key = data.records[split].key
    columns = zip(mistakes.rows, mistakes.true, mistakes.predicted, mistakes.confidence)
    return [
        {"input": key(int(row)), "true": true, "predicted": guess, "confidence": float(sure)}
        for row, true, guess, sure in columns
    ][:most]
