"""Inception score: how sure a classifier is of each image, and how varied its predictions are."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from jaxmodels.errors import InputError
from jaxmodels.metrics.feature_rows import check_features


class InceptionScore(NamedTuple):
    """Mean and population standard deviation over splits; each score is in 1..classes."""

    mean: float
    standard_deviation: float


@np.errstate(under="ignore")
def inception_score(logits: Num[np.ndarray, "count classes"], splits: int = 10) -> InceptionScore:
    """Computes exp of the mean KL divergence of predictions from their split's mean prediction.

    logits: unnormalised; log-probabilities (nats) are logits too, probabilities are not.
    splits: the number of contiguous splits, whose sizes differ by at most one example. Shuffle
      examples that are sorted by class, or every split has few classes.

    Source: Salimans et al. 2016, "Improved Techniques for Training GANs", section 4.

    Raises:
      InputError: splits < 1, fewer examples than splits, or logits that are not a matrix of finite
        numbers.
    """
    if splits < 1:
        raise InputError(f"splits: {splits}; expected at least 1")
    logits = check_features("logits", logits, splits, f"splits {splits}")
    bounds = [split * len(logits) // splits for split in range(splits + 1)]
    scores = [_score(logits[start:stop]) for start, stop in pairwise(bounds)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _score(logits: Num[np.ndarray, "count classes"]) -> float:
    logits = logits.astype(np.float64)
    log_given = logits - _log_sum_exp(logits, axis=1)
    # In log space, a class whose probability underflows in every example has a finite marginal.
    log_marginal = _log_sum_exp(log_given, axis=0) - np.log(len(logits))
    divergence = (np.exp(log_given) * (log_given - log_marginal)).sum(1)
    return float(np.exp(divergence.mean()))


def _log_sum_exp(values: Float[np.ndarray, "count classes"], axis: int) -> Float[np.ndarray, "_ _"]:
    largest = values.max(axis, keepdims=True)
    return largest + np.log(np.exp(values - largest).sum(axis, keepdims=True))
