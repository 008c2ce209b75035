"""What experiments.sentiment shows of an evaluation, and the lines of its predictions."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from experiments.parts.class_predictions import probabilities_of
from jaxmodels.data.dataset import TRAIN
from jaxmodels.data.sentences import SentenceData
from jaxmodels.metrics import classification_report, expected_calibration_error
from jaxmodels.pictures import confusion_figure
from jaxmodels.train import Evaluation, Findings

if TYPE_CHECKING:
    from jaxmodels.train.experiment import PerBatch

_WORST = 50  # mistakes that are shown


def report(data: SentenceData, predict: "PerBatch", evaluation: Evaluation) -> Findings | None:
    """Makes scores per class, a confusion matrix, and the worst mistakes with their text, after the
    last evaluation."""
    if evaluation.occasion != "last":
        return None
    sums, names = evaluation.sums, data.class_names
    logits = evaluation.map(predict)["logits"]
    probabilities = probabilities_of(logits)
    counts = np.bincount(data.splits[TRAIN].labels, minlength=len(names)).tolist()
    mistakes = worst(data, evaluation.split, probabilities)
    record = {
        "step": evaluation.step,
        "loss": sums.loss.value(),
        "top5": sums.top5.value(),
        "ece": expected_calibration_error(sums.calibration),
        **classification_report(sums.confusion, names),
        "trained_on": dict(zip(names, counts)),
        "worst": mistakes,
    }
    title = f"{evaluation.split}, step {evaluation.step}"
    lines = [
        f"{one['true']} > {one['predicted']} {one['confidence']:.3f}  {one['text']}"
        for one in mistakes
    ] or ["none: all are right"]
    head = f"{title}: true > predicted, confidence, text; the worst of the mistakes first\n\n"
    return Findings(
        record=record,
        pictures={"confusion": partial(confusion_figure, sums.confusion, names, title)},
        texts={f"mistakes-{evaluation.split}.txt": head + "\n".join(lines) + "\n"},
    )


def worst(
    data: SentenceData, split: str, probabilities: Float[np.ndarray, "sentence classes"]
) -> list[dict[str, Any]]:
    """Lists the mistakes whose true class is the least likely, with their text."""
    some = data.splits[split]
    rows = np.arange(len(some.labels))
    predicted, true = probabilities.argmax(1), probabilities[rows, some.labels]
    wrong = rows[predicted != some.labels]
    order = wrong[np.argsort(true[wrong], kind="stable")]
    return [
        {
            "input": some.keys[row],
            "true": data.class_names[some.labels[row]],
            "predicted": data.class_names[predicted[row]],
            "confidence": float(probabilities[row, predicted[row]]),
            "text": " | ".join(" ".join(text.split()) for text in some.texts[row]),
        }
        for row in order[:_WORST].tolist()
    ]
