"""Cross-entropy against the plain definition in float64, and at extreme logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxmodels.ops import softmax_cross_entropy
from tests.ops.compiling import quick_jit

cross_entropy = quick_jit(softmax_cross_entropy)
slope = quick_jit(jax.grad(lambda *args: softmax_cross_entropy(*args).sum()))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_equals_the_definition_and_its_gradient(smoothing):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(9, 5)) * 3, generator.integers(0, 5, 9)
    target = (1 - smoothing) * np.eye(5)[labels] + smoothing / 5
    expected = -(target * log_softmax(logits, axis=1)).sum(1)
    np.testing.assert_allclose(cross_entropy(logits, labels, smoothing), expected, rtol=1e-12)
    gradient = slope(logits, labels, smoothing)
    probabilities = np.exp(log_softmax(logits, axis=1))
    np.testing.assert_allclose(gradient, probabilities - target, atol=1e-12)


@pytest.mark.parametrize("scale", [1e3, 1e30])
def test_extreme_logits_stay_finite(scale):
    logits = jnp.array([[scale, 0.0, -scale]])
    for label, expected in ((0, 0.0), (1, scale), (2, 2 * scale)):
        labels = jnp.array([label])
        np.testing.assert_allclose(cross_entropy(logits, labels, 0.0), [expected], rtol=1e-6)
        assert np.isfinite(slope(logits, labels, 0.0)).all()


NEVER = -np.inf


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
def test_an_impossible_class_is_as_one_that_is_not_there(smoothing, mixed):
    generator = np.random.default_rng(2)
    some, labels = generator.normal(size=(6, 4)) * 3, generator.integers(0, 4, 6)
    logits = np.insert(some, [0, 2], NEVER, axis=1)  # classes 0 and 3 of six are masked
    moved = np.array([1, 2, 4, 5])[labels]
    if mixed:
        moved, labels = np.eye(6)[moved], np.eye(4)[labels]
    loss = cross_entropy(logits, moved, smoothing)
    np.testing.assert_allclose(loss, cross_entropy(some, labels, smoothing), rtol=1e-12)
    gradient = slope(logits, moved, smoothing)
    np.testing.assert_array_equal(gradient[:, [0, 3]], 0)
    np.testing.assert_allclose(
        gradient[:, [1, 2, 4, 5]], slope(some, labels, smoothing), atol=1e-12
    )
    # A smoothing that is traced may be 0 as well.
    traced = cross_entropy(logits, moved, jnp.float64(0.0))
    np.testing.assert_allclose(traced, cross_entropy(some, labels, 0.0), rtol=1e-12)


@pytest.mark.parametrize("labels", [jnp.array([1]), jnp.array([[0.5, 0.5, 0.0]])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_an_impossible_label_is_infinite(labels, smoothing):
    assert cross_entropy(jnp.array([[1.0, NEVER, 0.0]]), labels, smoothing) == np.inf


def test_a_label_out_of_range_is_nan_not_another_class():
    losses = cross_entropy(jnp.zeros((2, 3)), jnp.array([3, 1]))
    assert np.isnan(losses[0])
    assert losses[1] == pytest.approx(np.log(3))


@pytest.mark.usefixtures("float64")
def test_probabilities_that_are_one_hot_are_labels():
    generator = np.random.default_rng(1)
    logits, labels = generator.normal(size=(2, 9, 5)) * 3, generator.integers(0, 5, (2, 9))
    for smoothing in (0.0, 0.2):
        found = cross_entropy(logits, np.eye(5)[labels], smoothing)
        np.testing.assert_allclose(found, cross_entropy(logits, labels, smoothing))
