"""Classification metrics: sums on the device, and ratios of the sums on the host.

Traceable functions of one batch compute sums, which add over batches, steps and devices. Functions
on the host compute ratios of the sums in float64. `valid` marks the examples that count, without
padding; None means that all count.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmodels.errors import InputError
from jaxmodels.protocol import Mean, mean_over

AnyArray = Array | np.ndarray


def confusion_counts(
    labels: Int[AnyArray, " batch"],
    predictions: Int[AnyArray, " batch"],
    classes: int,
    valid: Bool[Array, " batch"] | None = None,
) -> Int[Array, "label prediction"]:
    """Counts, as int32, each pair of true label (row) and predicted class (column).

    An example whose label or prediction is outside 0..classes-1 is left out.
    """
    # A label of -1 would otherwise wrap around to the last class.
    counted = (labels >= 0) & (labels < classes) & (predictions >= 0) & (predictions < classes)
    if valid is not None:
        counted &= valid
    zeros = jnp.zeros((classes, classes), jnp.int32)
    return zeros.at[labels, predictions].add(counted.astype(jnp.int32), mode="drop")


def top_k_hits(
    logits: Float[AnyArray, "batch classes"],
    labels: Int[AnyArray, " batch"],
    k: int,
    valid: Bool[Array, " batch"] | None = None,
) -> Mean:
    """Counts how often the true class is among the k largest logits.

    A k above the number of classes counts all classes. Ties go to the lower class index, as in a
    stable descending sort: the rank of the true class is the number of strictly larger logits plus
    the number of equal ones at lower indices. A NaN logit for the true class is a miss.

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
    """The sums of each bin of confidence, which add over batches.

    Bin b holds the confidences in (b / bins, (b + 1) / bins]. doubt: the sum of 1 - confidence,
    because float32 sums of confidences near 1 would lose digits.
    """

    count: Int[Array, " bins"]
    doubt: Float[Array, " bins"]
    correct: Int[Array, " bins"]


def calibration_bins(
    logits: Float[AnyArray, "batch classes"],
    labels: Int[AnyArray, " batch"],
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
    # In bfloat16, with its 8 bits, no confidence could lie between 0.996 and 1.
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    largest = jnp.max(jax.nn.log_softmax(logits), axis=-1)
    confidence, doubt = jnp.exp(largest), -jnp.expm1(largest)
    correct = jnp.argmax(logits, axis=-1) == labels
    counted = jnp.ones(labels.shape, bool) if valid is None else valid
    # Rounding may put a confidence slightly above 1.
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)

    def per_bin(values, dtype):
        return jnp.zeros(bins, dtype).at[index].add(values.astype(dtype))

    return CalibrationBins(
        count=per_bin(counted, jnp.int32),
        doubt=per_bin(jnp.where(counted, doubt, 0), jnp.float32),
        correct=per_bin(counted & correct, jnp.int32),
    )


@np.errstate(under="ignore")
def expected_calibration_error(bins: CalibrationBins) -> float:
    """Computes the mean over examples of |accuracy - mean confidence| in their bins, in 0..1.

    NaN when nothing was counted. Empty bins weigh nothing.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    count, doubt, correct = (np.asarray(part, np.float64) for part in bins)
    total = count.sum()
    # In count/total * |correct/count - confidence/count| the counts of the bin cancel.
    return float(np.abs(correct - (count - doubt)).sum() / total) if total else float("nan")


class ClassScores(NamedTuple):
    """Precision, recall, F1 and the number of true examples of each class."""

    precision: Float[np.ndarray, " classes"]
    recall: Float[np.ndarray, " classes"]
    f1: Float[np.ndarray, " classes"]
    support: Int[np.ndarray, " classes"]


class Scores(NamedTuple):
    """Precision, recall, F1 and the number of true examples of one class, or an average."""

    precision: float
    recall: float
    f1: float
    support: int


class ClassificationScores(NamedTuple):
    """The scores of a confusion matrix, in float64."""

    accuracy: float
    per_class: ClassScores
    macro: Scores
    micro: Scores
    weighted: Scores


@np.errstate(under="ignore")
def classification_scores(confusion: Int[AnyArray, "label prediction"]) -> ClassificationScores:
    """Computes accuracy, and precision, recall and F1 per class and averaged in three ways.

    macro: the plain mean over classes. weighted: the mean over true examples. micro: from counts
    pooled over classes; with one label per example it equals the accuracy.

    As in scikit-learn by default, the macro mean leaves out a class with neither a true nor a
    predicted example (its own scores are 0), and a ratio of 0/0 is 0. Without any example the
    accuracy and every average are NaN.

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

    per_class = ClassScores(
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


def _ratio(
    above: Int[np.ndarray, " classes"], below: Int[np.ndarray, " classes"]
) -> Float[np.ndarray, " classes"]:
    return np.divide(above, below, out=np.zeros(len(below), np.float64), where=below > 0)


def classification_report(
    confusion: Int[AnyArray, "label prediction"], class_names: Sequence[str]
) -> dict[str, Any]:
    """Converts the results of `classification_scores` to plain Python values for json.dump.

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
