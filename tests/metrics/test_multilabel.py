"""Scores of examples with several labels equal scikit-learn's."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from jaxmodels.metrics import average_precisions, label_counts, label_report, label_scores


def _drawn(count=60, labels=4, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.uniform(size=(count, labels)) < generator.uniform(0.1, 0.9, labels)
    # Few levels, so that scores are equal often.
    scores = np.round(generator.normal(size=truth.shape) + truth, 1)
    return truth, scores


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    truth, scores = _drawn(seed=seed)
    predicted, valid = scores > 0.5, np.arange(60) < 50
    found = label_scores(label_counts(truth, predicted, valid))
    true, guess = truth[:50], predicted[:50]
    expected = reference.precision_recall_fscore_support(true, guess, zero_division=0)
    for k, row in enumerate(found.per_label):
        np.testing.assert_allclose(row, [column[k] for column in expected], rtol=1e-12)
    for name in ("macro", "micro"):
        expected = reference.precision_recall_fscore_support(
            true, guess, average=name, zero_division=0
        )
        np.testing.assert_allclose(getattr(found, name)[:3], expected[:3], rtol=1e-12)
    assert found.accuracy == pytest.approx(1 - reference.hamming_loss(true, guess), rel=1e-12)
    expected = reference.average_precision_score(true, scores[:50], average=None)
    np.testing.assert_allclose(average_precisions(true, scores[:50]), expected, rtol=1e-12)


def test_a_label_that_nobody_has():
    truth, scores = _drawn()
    truth[:, 1], scores[:, 1] = False, -1.0
    counts = label_counts(truth, scores > 0, np.ones(60, bool))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference.f1_score(truth, scores > 0, average="macro", zero_division=np.nan)
    assert label_scores(counts).macro.f1 == pytest.approx(expected, rel=1e-12)
    found = average_precisions(truth, scores)
    assert np.isnan(found).tolist() == [False, True, False, False]
    report = label_report(counts, found, list("abcd"))
    assert report["per_class"]["b"]["average_precision"] is None
    assert report["per_class"]["a"]["support"] == truth[:, 0].sum()


def test_no_example_has_no_score():
    found = label_scores(np.zeros((3, 4), int))
    assert np.isnan(found.accuracy) and np.isnan(found.macro.f1)
    nobody = label_scores(np.array([[0, 0, 0, 5]]))
    assert nobody.accuracy == 1 and np.isnan(nobody.macro.f1)
