"""Classification metrics against scikit-learn and plain definitions."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxmodels.errors import InputError
from jaxmodels.metrics import (
    calibration_bins,
    classification_report,
    classification_scores,
    confusion_counts,
    expected_calibration_error,
    top_k_hits,
)

CLASSES = 7


def _logits_and_labels(seed, count=203, used=range(CLASSES)):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, CLASSES)).astype(np.float32) * 2
    unused = [index for index in range(CLASSES) if index not in used]
    logits[:, unused] = -20
    labels = generator.choice(list(used), count)
    logits[np.arange(count), labels] += 1
    return logits, labels.astype(np.int32)


def _over_padded_batches(function, arrays, size):
    """Adds function(*batch, valid) over batches of one size, the last padded with nonsense."""
    compiled = jax.jit(function)
    count = len(arrays[0])
    total = None
    for start in range(0, count, size):
        parts = [array[start : start + size] for array in arrays]
        missing = size - len(parts[0])
        valid = np.arange(size) < size - missing
        fill = [np.full((missing, *part.shape[1:]), -1, part.dtype) for part in parts]
        out = compiled(*map(np.concatenate, zip(parts, fill, strict=True)), valid)
        total = out if total is None else jax.tree.map(jnp.add, total, out)
    return total


# All classes; classes neither true nor predicted; a class true but never predicted.
@pytest.mark.parametrize("used", [range(CLASSES), [0, 2, 3, 6], [5]])
@pytest.mark.parametrize("silence", [None, 2])
@pytest.mark.parametrize("size", [203, 64])
def test_scores_equal_sklearn(used, silence, size):
    logits, labels = _logits_and_labels(len(used), used=used)
    if silence is not None:
        logits[:, silence] = -30
    predictions = logits.argmax(1).astype(np.int32)
    confusion = _over_padded_batches(
        lambda y, p, valid: confusion_counts(y, p, CLASSES, valid), (labels, predictions), size
    )
    assert confusion.dtype == jnp.int32
    expected = sklearn_metrics.confusion_matrix(labels, predictions, labels=range(CLASSES))
    np.testing.assert_array_equal(confusion, expected)

    scores = classification_scores(confusion)
    assert scores.accuracy == pytest.approx(
        sklearn_metrics.accuracy_score(labels, predictions), abs=1e-6
    )
    per_class = sklearn_metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(CLASSES), zero_division=0
    )
    np.testing.assert_allclose(np.stack(scores.per_class), np.stack(per_class), atol=1e-6)
    for name in ("macro", "micro", "weighted"):
        expected = sklearn_metrics.precision_recall_fscore_support(
            labels, predictions, average=name, zero_division=0
        )
        average = getattr(scores, name)
        np.testing.assert_allclose(average[:3], expected[:3], atol=1e-6, err_msg=name)
        assert average.support == len(labels)


def test_absent_class_is_left_out_of_the_macro_mean():
    scores = classification_scores(np.array([[3, 0, 0], [0, 0, 0], [0, 0, 2]]))
    assert scores.macro.f1 == 1
    assert scores.per_class.f1[1] == 0


def test_labels_out_of_range_are_left_out():
    labels, predictions = jnp.array([-1, 0, 3, 1, 2]), jnp.array([0, -1, 0, 5, 2])
    confusion = confusion_counts(labels, predictions, 3)
    assert confusion.sum() == 1 == confusion[2, 2]


def test_nothing_counted_is_nan():
    scores = classification_scores(np.zeros((3, 3), int))
    assert math.isnan(scores.accuracy)
    assert math.isnan(scores.macro.f1)
    assert scores.per_class.f1.tolist() == [0, 0, 0]
    bins = calibration_bins(jnp.zeros((2, 3)), jnp.zeros(2, int), valid=jnp.zeros(2, bool))
    assert math.isnan(expected_calibration_error(bins))


def test_report_is_json_and_agrees_with_the_scores():
    confusion = jnp.array([[5, 1, 0], [2, 0, 1], [0, 0, 4]])
    report = json.loads(json.dumps(classification_report(confusion, ["cat", "dog", "owl"])))
    assert report["confusion"] == confusion.tolist()
    assert report["accuracy"] == pytest.approx(9 / 13)
    assert report["per_class"]["owl"] == pytest.approx(
        {"precision": 0.8, "recall": 1.0, "f1": 8 / 9, "support": 4}
    )
    assert report["per_class"]["dog"]["f1"] == 0
    assert report["macro"]["recall"] == pytest.approx((5 / 6 + 0 + 1) / 3)
    assert report["micro"]["precision"] == report["accuracy"]
    assert set(report["weighted"]) == {"precision", "recall", "f1", "support"}


def test_bad_input_names_the_numbers():
    with pytest.raises(InputError, match="2 names; expected 3"):
        classification_report(np.eye(3, dtype=int), ["a", "b"])
    with pytest.raises(InputError, match="'a'"):
        classification_report(np.eye(3, dtype=int), ["a", "b", "a"])
    with pytest.raises(InputError, match="square"):
        classification_scores(np.ones((2, 3), int))
    with pytest.raises(InputError, match="k is 0"):
        top_k_hits(jnp.zeros((1, 2)), jnp.zeros(1, int), 0)
    with pytest.raises(InputError, match="bins is 0"):
        calibration_bins(jnp.zeros((1, 2)), jnp.zeros(1, int), bins=0)


@pytest.mark.parametrize("k", [1, 3, CLASSES - 1])
@pytest.mark.parametrize("size", [203, 50])
def test_top_k_equals_sklearn(k, size):
    logits, labels = _logits_and_labels(k)
    hits = _over_padded_batches(
        lambda x, y, valid: top_k_hits(x, y, k, valid), (logits, labels), size
    )
    expected = sklearn_metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(CLASSES))
    assert hits.value() == pytest.approx(expected, abs=1e-6)
    assert hits.count == len(labels)


def test_top_k_is_capped_at_the_classes():
    logits, labels = _logits_and_labels(0)
    assert top_k_hits(logits, labels, 100).value() == 1


def test_top_k_ties_are_those_of_a_stable_sort():
    generator = np.random.default_rng(0)
    logits = generator.integers(0, 3, (300, CLASSES)).astype(np.float32)
    labels = generator.integers(0, CLASSES, 300)
    order = np.argsort(-logits, axis=1, kind="stable")
    for k in range(1, CLASSES + 1):
        expected = (order[:, :k] == labels[:, None]).any(1).sum()
        assert top_k_hits(logits, labels, k).total == expected


def test_top_k_of_nan_is_a_miss():
    assert top_k_hits(jnp.full((2, 3), jnp.nan), jnp.array([0, 1]), 3).total == 0


def _plain_calibration_error(logits, labels, bins):
    """Guo et al. 2017, bin by bin in float64."""
    logits = logits.astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    confidence, correct = probabilities.max(1), logits.argmax(1) == labels
    error = 0.0
    for low in range(bins):
        inside = (confidence > low / bins) & (confidence <= (low + 1) / bins)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    return error


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("size", [203, 64])
def test_calibration_error_equals_the_definition(bins, size):
    logits, labels = _logits_and_labels(bins)
    sums = _over_padded_batches(
        lambda x, y, valid: calibration_bins(x, y, bins, valid), (logits, labels), size
    )
    assert sums.count.sum() == len(labels)
    expected = _plain_calibration_error(logits, labels, bins)
    assert expected_calibration_error(sums) == pytest.approx(expected, abs=1e-6)


def test_calibration_error_by_hand():
    """Confidences 0.9 (right), 0.8 (wrong), 0.6 (right), in two bins: both in the upper one of
    two; in bins of a tenth each alone."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], np.float32)
    labels = np.array([0, 1, 1])
    upper = calibration_bins(np.log(probabilities), labels, 2)
    assert upper.count.tolist() == [0, 3]
    assert upper.correct.tolist() == [0, 2]
    assert expected_calibration_error(upper) == pytest.approx(abs(2 - 2.3) / 3, abs=1e-6)
    alone = calibration_bins(np.log(probabilities), labels, 20)
    assert expected_calibration_error(alone) == pytest.approx((0.1 + 0.8 + 0.4) / 3, abs=1e-6)


def test_certainty_falls_in_the_last_bin():
    bins = calibration_bins(jnp.array([[100.0, 0.0], [0.0, 0.0]]), jnp.array([0, 0]), 2)
    assert bins.count.tolist() == [1, 1]  # 0.5 belongs to (0, 0.5]
    half = calibration_bins(jnp.array([[100.0, 0.0]], jnp.bfloat16), jnp.array([0]))
    assert half.doubt.dtype == jnp.float32
    assert half.count[-1] == 1


@pytest.mark.parametrize("size", [10_000, 500])
def test_calibration_error_of_the_nearly_certain(size):
    """Sums of ten thousand confidences near 1 must not drift in float32."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(10_000, 10)).astype(np.float32)
    labels = generator.integers(0, 10, 10_000)
    logits[np.arange(10_000), labels] += 12
    sums = _over_padded_batches(
        lambda x, y, valid: calibration_bins(x, y, 15, valid), (logits, labels), size
    )
    expected = _plain_calibration_error(logits, labels, 15)
    assert expected_calibration_error(sums) == pytest.approx(expected, abs=1e-7)
