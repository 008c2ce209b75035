"""The mixture of writing and copying against a plain reference in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxmodels.ops.copy_mixture import Mixture, log_likelihoods, log_probabilities

VOCABULARY, SOURCE, LENGTH = 7, 6, 3
# The second source has two words of its own, one of them twice, and padding.
COPIED = jnp.array([[4, 5, 4, 6, 1, 2], [3, 8, 9, 8, 0, 0]])
VALID = jnp.array([[True] * 6, [True] * 4 + [False] * 2])
TARGETS = jnp.array([[4, 3, 0], [8, 9, 5]])


def drawn(seed=0, scale=1.0):
    keys = jax.random.split(jax.random.key(seed), 3)
    return Mixture(
        scale * jax.random.normal(keys[0], (2, LENGTH, VOCABULARY)),
        scale * jax.random.normal(keys[1], (2, LENGTH, SOURCE)),
        scale * jax.random.normal(keys[2], (2, LENGTH)),
    )


def reference(mixture):
    """Probabilities of all words, one number at a time."""
    logits, scores, gate = (np.asarray(part, np.float64) for part in mixture)
    found = np.zeros((2, LENGTH, VOCABULARY + SOURCE))
    for row in range(2):
        for at in range(LENGTH):
            p = 1 / (1 + np.exp(-gate[row, at]))
            written = np.exp(logits[row, at]) / np.exp(logits[row, at]).sum()
            found[row, at, :VOCABULARY] += p * written
            weights = np.exp(scores[row, at]) * VALID[row]
            for place in range(SOURCE):
                found[row, at, COPIED[row, place]] += (1 - p) * weights[place] / weights.sum()
    return found


def test_the_mixture_is_the_reference_and_sums_to_one():
    mixture = drawn()
    expected = reference(mixture)
    found = np.exp(log_probabilities(mixture, COPIED, VALID))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    # Nothing is copied from padding, and a word that the source lacks cannot be written.
    assert found[1, :, 10:].max() == 0 and found[0, :, VOCABULARY:].max() == 0
    losses = np.asarray(log_likelihoods(mixture, COPIED, VALID, TARGETS))
    each = np.take_along_axis(expected, np.asarray(TARGETS)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(losses, np.log(each), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_gradients_are_those_of_finite_differences_and_finite(scale):
    def total(*parts):
        return jnp.sum(log_likelihoods(Mixture(*parts), COPIED, VALID, TARGETS))

    with jax.enable_x64(True):
        parts = [jnp.asarray(part, jnp.float64) for part in drawn(1, scale)]
        if scale == 1.0:
            check_grads(total, parts, order=1, modes=["rev"], rtol=1e-5, atol=1e-6)
        gradients = jax.grad(total, argnums=(0, 1, 2))(*parts)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    # Padding has no gradient.
    assert np.abs(np.asarray(gradients[1])[1, :, 4:]).max() == 0
