"""Classification metrics: sums on the device, ratios of the sums on the host.

Device side: pure, traceable functions of one batch whose outputs add over batches, steps and
devices. Host side: float64 numpy functions of those sums. `valid` marks the examples that count;
padding is False. None means that all count.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmodels.errors import InputError
from jaxmodels.protocol import Mean, mean_over


def confusion_counts(
    labels: Int[Array, " batch"],
    predictions: Int[Array, " batch"],
    classes: int,
    valid: Bool[Array, " batch"] | None = None,
) -> Int[Array, "label prediction"]:
    """Counts (int32) of each pair of true label (row) and predicted class (column).

    An example whose label or prediction is outside 0..classes-1 is left out.
    """
    # Without this, a label of -1 would wrap around to the last class.
    counted = (labels >= 0) & (labels < classes) & (predictions >= 0) & (predictions < classes)
    if valid is not None:
        counted &= valid
    zeros = jnp.zeros((classes, classes), jnp.int32)
    return zeros.at[labels, predictions].add(counted.astype(jnp.int32), mode="drop")


def top_k_hits(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    k: int,
    valid: Bool[Array, " batch"] | None = None,
) -> Mean:
    """How often the true class is among the k largest logits; k is capped at the classes.

    Ties go to the lower class index, as in a stable descending sort: the rank of the true class is
    the number of strictly larger logits plus the number of equal ones at lower indices. A NaN logit
    for the true class is a miss.

    Raises:
      InputError: k < 1.
    """
    if k < 1:
        raise InputError(f"top_k_hits: k is {k}; expected at least 1")
    classes = logits.shape[-1]
    true = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = jnp.arange(classes) < labels[:, None]
    rank = jnp.sum((logits > true) | ((logits == true) & earlier), axis=-1)
    hits = (rank < min(k, classes)) & ~jnp.isnan(true[:, 0])
    return mean_over(hits.astype(jnp.float32), valid)


class CalibrationBins(NamedTuple):
    """Sums per bin of confidence; they add over batches. Bin b holds (b/bins, (b+1)/bins]."""

    count: Int[Array, " bins"]
    # 1 - confidence: where confidences are near 1, float32 sums of them would drift.
    doubt: Float[Array, " bins"]
    correct: Int[Array, " bins"]


def calibration_bins(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    bins: int = 15,
    valid: Bool[Array, " batch"] | None = None,
) -> CalibrationBins:
    """Sorts examples by confidence, the largest softmax probability, into equal-width bins.

    logits: unnormalised; log-probabilities (nats) are logits too, probabilities are not.
    The prediction is the largest logit, at the lowest index where several tie.

    Raises:
      InputError: bins < 1.
    """
    if bins < 1:
        raise InputError(f"calibration_bins: bins is {bins}; expected at least 1")
    # Float32 at least: bfloat16 has only 8 bits to tell 0.996 from 1.
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    largest = jnp.max(jax.nn.log_softmax(logits), axis=-1)
    confidence, doubt = jnp.exp(largest), -jnp.expm1(largest)
    correct = jnp.argmax(logits, axis=-1) == labels
    counted = jnp.ones(labels.shape, bool) if valid is None else valid
    # Rounding may put a confidence a hair above 1.
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    return CalibrationBins(
        count=jnp.zeros(bins, jnp.int32).at[index].add(counted.astype(jnp.int32)),
        doubt=jnp.zeros(bins, jnp.float32)
        .at[index]
        .add(jnp.where(counted, doubt, 0).astype(jnp.float32)),
        correct=jnp.zeros(bins, jnp.int32).at[index].add((counted & correct).astype(jnp.int32)),
    )


def expected_calibration_error(bins: CalibrationBins) -> float:
    """Mean over examples of |accuracy - mean confidence| of the example's bin, in 0..1.

    NaN when nothing was counted. Empty bins weigh nothing.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    count, doubt, correct = (np.asarray(part, np.float64) for part in bins)
    total = count.sum()
    # count/total * |correct/count - confidence/count|: the counts of the bin cancel.
    return float(np.abs(correct - (count - doubt)).sum() / total) if total else float("nan")


class Scores(NamedTuple):
    """Precision, recall, F1 and the number of true examples: per class or, as scalars, averaged."""

    precision: Float[np.ndarray, " classes"] | float
    recall: Float[np.ndarray, " classes"] | float
    f1: Float[np.ndarray, " classes"] | float
    support: Int[np.ndarray, " classes"] | int


class ClassificationScores(NamedTuple):
    """What `classification_scores` returns; all float64."""

    accuracy: float
    per_class: Scores
    macro: Scores
    micro: Scores
    weighted: Scores


def classification_scores(confusion: Int[Array, "label prediction"]) -> ClassificationScores:
    """Accuracy, and precision, recall and F1 per class and averaged in three ways.

    macro: the plain mean over classes. weighted: the mean over true examples. micro: from counts
    pooled over classes; with one label per example it equals the accuracy.

    As scikit-learn's defaults do it: a class with neither a true nor a predicted example is left
    out of the macro mean (its own scores are 0), and a ratio of 0/0 is 0. With no example at all,
    the accuracy and every average are NaN.

    Raises:
      InputError: the confusion is not a square matrix.
    """
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise InputError(
            f"confusion: shape {confusion.shape}; expected a square [label, prediction]"
        )
    confusion = confusion.astype(np.int64)
    hits, support, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    total = int(support.sum())

    per_class = Scores(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predicted),
        support=support,
    )
    if not total:
        nothing = Scores(float("nan"), float("nan"), float("nan"), 0)
        return ClassificationScores(float("nan"), per_class, nothing, nothing, nothing)

    seen = (support + predicted) > 0
    accuracy = float(hits.sum() / total)
    ratios = per_class[:3]
    return ClassificationScores(
        accuracy=accuracy,
        per_class=per_class,
        macro=Scores(*(float(ratio[seen].mean()) for ratio in ratios), total),
        micro=Scores(accuracy, accuracy, accuracy, total),
        weighted=Scores(*(float(ratio @ support / total) for ratio in ratios), total),
    )


def _ratio(above: np.ndarray, below: np.ndarray) -> Float[np.ndarray, " classes"]:
    return np.divide(above, below, out=np.zeros(len(below), np.float64), where=below > 0)


def classification_report(
    confusion: Int[Array, "label prediction"], class_names: Sequence[str]
) -> dict[str, Any]:
    """`classification_scores` by name, of plain Python values, ready for json.dump.

    {"accuracy": ., "per_class": {name: {"precision", "recall", "f1", "support"}},
    "macro" | "micro" | "weighted": the same four, "confusion": rows by true label}.

    Raises:
      InputError: names that repeat or are not one per class, or a confusion that is not square.
    """
    scores = classification_scores(confusion)
    names = [str(name) for name in class_names]
    classes = len(scores.per_class.support)
    if len(names) != classes:
        raise InputError(f"class_names: {len(names)} names; expected {classes}, one per class")
    if len(set(names)) != classes:
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"class_names: {repeated} repeat; expected distinct names")
    rows = zip(*(part.tolist() for part in scores.per_class), strict=True)
    return {
        "accuracy": scores.accuracy,
        "per_class": {name: Scores(*row)._asdict() for name, row in zip(names, rows, strict=True)},
        "macro": scores.macro._asdict(),
        "micro": scores.micro._asdict(),
        "weighted": scores.weighted._asdict(),
        "confusion": np.asarray(confusion).astype(int).tolist(),
    }
