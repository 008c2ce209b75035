"""Metrics of examples that have any number of labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxmodels.metrics.classification import Scores


class LabelScores(NamedTuple):
    """The scores of labels, in float64. Those of a label stand in the order of the labels."""

    accuracy: float
    per_label: tuple[Scores, ...]
    macro: Scores
    micro: Scores


def label_counts(
    truth: Bool[Array | np.ndarray, "batch labels"],
    predicted: Bool[Array | np.ndarray, "batch labels"],
    valid: Bool[Array | np.ndarray, " batch"],
) -> Int[Array, "labels 4"]:
    """Counts, of each label over the valid examples: predicted and true, predicted alone, true
    alone, neither."""
    kinds = (truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted)
    return jnp.stack([jnp.sum(kind & valid[:, None], axis=0) for kind in kinds], axis=1)


def label_scores(counts: Int[Array | np.ndarray, "labels 4"]) -> LabelScores:
    """Computes accuracy, and precision, recall and F1 per label and averaged in two ways.

    macro: the mean over the labels that any example has or is predicted to have; the others would
    count as scikit-learn's `zero_division=nan`. micro: of all counts together. A ratio of 0/0 is 0.
    Without any example all are NaN.
    """
    counts = np.asarray(counts, np.int64)
    per_label = tuple(_scores(*row) for row in counts.tolist())
    seen = [scores for scores, row in zip(per_label, counts[:, :3].sum(1).tolist()) if row]
    total = int(counts.sum())
    if not total or not seen:
        nan = float("nan")
        macro = micro = Scores(nan, nan, nan, 0)
    else:
        means = np.mean([scores[:3] for scores in seen], axis=0).tolist()
        micro = _scores(*counts.sum(0).tolist())
        macro = Scores(*means, micro.support)
    accuracy = float(counts[:, [0, 3]].sum() / total) if total else float("nan")
    return LabelScores(accuracy, per_label, macro, micro)


def _scores(both: int, predicted: int, true: int, neither: int) -> Scores:
    def ratio(above: int, below: int) -> float:
        return above / below if below else 0.0

    return Scores(
        precision=ratio(both, both + predicted),
        recall=ratio(both, both + true),
        f1=ratio(2 * both, 2 * both + predicted + true),
        support=both + true,
    )


def average_precisions(
    truth: Bool[np.ndarray, "example labels"], scores: Float[np.ndarray, "example labels"]
) -> Float[np.ndarray, " labels"]:
    """Computes the average precision of each label: the mean, over the examples that have it, of
    the precision among all examples that score at least as high. NaN where none has it.

    It is scikit-learn's `average_precision_score`, which has no interpolation.
    """
    return np.array([_average_precision(truth[:, k], scores[:, k]) for k in range(truth.shape[1])])


def _average_precision(
    truth: Bool[np.ndarray, " example"], scores: Float[np.ndarray, " example"]
) -> float:
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    hits = np.cumsum(truth[order])
    # Examples of equal scores are found together, at the last of them.
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    precision = hits[ends] / (ends + 1)
    gained = np.diff(hits[ends], prepend=0)
    return float((precision * gained).sum() / hits[-1])


def label_report(
    counts: Int[Array | np.ndarray, "labels 4"],
    precisions: Float[np.ndarray, " labels"],
    names: Sequence[str],
) -> dict[str, Any]:
    """Converts scores to plain Python values for json.dump, as `classification_report` does.

    precisions: of `average_precisions`; None stands for one that is not a number.
    """
    scores = label_scores(counts)
    rows = zip(names, scores.per_label, precisions.tolist(), strict=True)
    per_label = {
        name: row._asdict() | {"average_precision": None if np.isnan(value) else value}
        for name, row, value in rows
    }
    averages = {"macro": scores.macro._asdict(), "micro": scores.micro._asdict()}
    return {"accuracy": scores.accuracy, "per_class": per_label, **averages}
