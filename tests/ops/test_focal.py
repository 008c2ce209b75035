"""Focal losses against their formulas in float64, and far out where probabilities round to 0."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from jaxmodels.ops.focal import binary_cross_entropy, sigmoid_focal, varifocal

LOGITS = np.linspace(-6, 6, 13)
HARD = (np.arange(13) % 2).astype(float)
SOFT = np.where(np.arange(13) % 3 == 0, 0, np.linspace(0.1, 0.95, 13))


def test_values_are_the_formulas(float64):
    p = 1 / (1 + np.exp(-LOGITS))
    entropy = -HARD * np.log(p) - (1 - HARD) * np.log(1 - p)
    np.testing.assert_allclose(
        binary_cross_entropy(jnp.array(LOGITS), jnp.array(HARD)), entropy, rtol=1e-10
    )
    p_t, alpha_t = np.where(HARD == 1, p, 1 - p), np.where(HARD == 1, 0.3, 0.7)
    expected = alpha_t * (1 - p_t) ** 1.5 * entropy
    found = sigmoid_focal(jnp.array(LOGITS), jnp.array(HARD), 0.3, 1.5)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    entropy = -SOFT * np.log(p) - (1 - SOFT) * np.log(1 - p)
    expected = np.where(SOFT > 0, SOFT, 0.6 * p**1.7) * entropy
    found = varifocal(jnp.array(LOGITS), jnp.array(SOFT), 0.6, 1.7)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_gradients(float64):
    def focal(x):
        return sigmoid_focal(jnp.asarray(x), jnp.array(HARD))

    check_grads(focal, (jnp.array(LOGITS),), order=1)
    # The weight of varifocal is a constant.
    gradient = jax.grad(lambda x: varifocal(x, jnp.array(SOFT)).sum())(jnp.array(LOGITS))
    p = 1 / (1 + np.exp(-LOGITS))
    weights = np.where(SOFT > 0, SOFT, 0.75 * p**2)
    np.testing.assert_allclose(gradient, weights * (p - SOFT), rtol=1e-8)


def test_far_logits_are_finite():
    logits, targets = jnp.array([-200.0, 200.0, -200.0, 200.0]), jnp.array([0.0, 0.0, 1.0, 1.0])
    for loss in (sigmoid_focal, varifocal):
        value, gradient = jax.value_and_grad(lambda x, loss=loss: loss(x, targets).sum())(logits)
        assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_allclose(sigmoid_focal(logits, targets), [0, 150, 50, 0], rtol=1e-6)
