"""Inception score against values known by hand and its definition."""

import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.metrics import inception_score


def _by_definition(logits, splits):
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = []
    for part in np.split(probabilities, splits):
        marginal = part.mean(0)
        divergences = [np.sum(row * np.log(row / marginal)) for row in part]
        scores.append(np.exp(np.mean(divergences)))
    return scores


@pytest.mark.parametrize("splits", [1, 4])
def test_score_equals_the_definition(splits):
    logits = np.random.default_rng(0).normal(size=(40, 6)) * 2
    scores = _by_definition(logits, splits)
    result = inception_score(logits, splits)
    assert result.mean == pytest.approx(np.mean(scores), rel=1e-12)
    assert result.standard_deviation == pytest.approx(np.std(scores), rel=1e-9, abs=1e-12)
    # Added to all logits of an example, a constant changes no probability.
    shifted = inception_score(logits + np.linspace(-900, 900, 40)[:, None], splits)
    assert shifted.mean == pytest.approx(result.mean, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 7])
def test_sure_and_evenly_spread_predictions_score_the_classes(classes):
    logits = 1000.0 * np.tile(np.eye(classes), (10, 1))
    result = inception_score(logits, splits=5)
    assert result.mean == pytest.approx(classes, rel=1e-12)
    assert result.standard_deviation == pytest.approx(0, abs=1e-12)


def test_classes_that_no_example_has_do_not_count():
    """Logits of -5000 are probabilities of 0 in float64: 0 log 0 is 0 here, not NaN."""
    logits = np.full((30, 9), -5000, np.float32)
    logits[np.arange(30), np.arange(30) % 3] = 0
    assert inception_score(logits, splits=2).mean == pytest.approx(3, rel=1e-12)


def test_one_prediction_for_all_scores_one():
    logits = np.tile(np.random.default_rng(0).normal(size=(1, 5)), (20, 1))
    assert inception_score(logits, splits=4).mean == pytest.approx(1, rel=1e-12)


def test_splits_are_contiguous_and_of_floor_bounds():
    """Seven examples in three splits, 0-1, 2-3 and 4-6, each of as many classes as its score."""
    logits = 1000.0 * np.eye(4)[[0, 0, 0, 1, 0, 1, 2]]
    result = inception_score(logits, splits=3)
    assert result.mean == pytest.approx(np.mean([1, 2, 3]), rel=1e-12)
    assert result.standard_deviation == pytest.approx(np.std([1, 2, 3]), rel=1e-12)


def test_ten_splits_by_default():
    """Ten of one class each: 1 in each of ten splits, but 10 for the whole."""
    logits = 1000.0 * np.repeat(np.eye(10), 3, axis=0)
    assert inception_score(logits).mean == pytest.approx(1, rel=1e-12)
    assert inception_score(logits, splits=1).mean == pytest.approx(10, rel=1e-12)


def test_float32_logits_are_scored_in_float64():
    logits = (np.random.default_rng(0).normal(size=(40, 6)) * 3).astype(np.float32)
    expected = inception_score(logits.astype(np.float64), splits=2)
    assert inception_score(logits, splits=2) == expected


@pytest.mark.usefixtures("unchecked")
def test_bad_input_names_the_numbers():
    with pytest.raises(InputError, match="logits: 9 examples; expected at least 10 for splits 10"):
        inception_score(np.zeros((9, 3)))
    with pytest.raises(InputError, match="splits: 0; expected at least 1"):
        inception_score(np.zeros((9, 3)), splits=0)
    with pytest.raises(InputError, match="logits: 1 of 12 examples are not finite, first row 3"):
        inception_score(np.where(np.arange(36).reshape(12, 3) == 10, -np.inf, 0.0))
    with pytest.raises(InputError, match=r"logits: shape \(9,\)"):
        inception_score(np.zeros(9))
