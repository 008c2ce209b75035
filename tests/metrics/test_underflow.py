"""Scores are numbers whatever `np.seterr` says: what vanishes beside 1 may vanish."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parts.class_predictions import prediction_line
from jaxmodels import metrics
from jaxmodels.metrics.generative import Features, generative_scores


@pytest.fixture(autouse=True)
def strict():
    with np.errstate(all="raise"):
        yield


def test_logits_far_apart():
    logits = np.where(np.eye(4, dtype=bool), 1000.0, -1000.0)[np.arange(40) % 4]
    assert metrics.inception_score(logits, 2).mean == pytest.approx(4)
    line = prediction_line(("a", "b"), {"logits": np.array([900.0, -900.0], np.float32)})
    assert line == {"label": "a", "probabilities": {"a": 1.0, "b": 0.0}}
    bins = metrics.calibration_bins(jnp.asarray(logits, jnp.float32), jnp.zeros(40, jnp.int32))
    assert metrics.expected_calibration_error(bins) == pytest.approx(0.75)


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e15])
def test_features_of_any_size(scale):
    generator = np.random.default_rng(0)
    real, fake = generator.normal(size=(2, 30, 3))
    logits = generator.normal(size=(30, 5)) * 2000
    scores = generative_scores(
        "classifier", Features(real * scale, logits), Features(fake * scale, logits), 3
    )
    assert all(np.isfinite(score) for score in scores.values())
    near = metrics.nearest(real * scale, fake * scale, 2)
    assert np.isfinite(near.distance).all()


def test_classes_without_examples():
    confusion = np.zeros((3, 3), int)
    assert np.isnan(metrics.classification_scores(confusion).accuracy)
    confusion[0, 1] = 2
    assert metrics.classification_scores(confusion).macro.f1 == 0
    assert metrics.classification_report(confusion, "abc")["accuracy"] == 0
