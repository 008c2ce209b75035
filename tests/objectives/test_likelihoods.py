"""Likelihoods of images: whole images against scipy, means and draws within 0..1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax, logsumexp
from scipy.stats import norm

from jaxmodels.errors import InputError
from jaxmodels.objectives.likelihoods import LIKELIHOODS, Likelihood, make_likelihood

LEVELS = 17


def _parameters(likelihood, leading=()):
    generator = np.random.default_rng(0)
    return jnp.asarray(generator.normal(size=(*leading, 3, 2, likelihood.size)), jnp.float32)


def _images(count=5, channels=2):
    levels = np.random.default_rng(1).integers(0, LEVELS, (count, 3, 2, channels))
    return jnp.asarray(levels / (LEVELS - 1), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_all_have_the_same_interface(name):
    likelihood = make_likelihood(name, 2, LEVELS, mixtures=3)
    assert isinstance(likelihood, Likelihood)
    assert likelihood.name == name
    assert likelihood.dequantized == (name == "gaussian")
    # Samples of the posterior share their image.
    parameters, images = _parameters(likelihood, (4, 5)), _images()
    values = likelihood.log_probability(parameters, images)
    assert values.shape == (4, 5)
    one = likelihood.log_probability(parameters[3, 2], images[2])
    np.testing.assert_allclose(values[3, 2], one, rtol=1e-5)
    means = likelihood.mean(parameters)
    drawn = likelihood.sample(jax.random.key(0), parameters[0, 0])
    assert means.shape == (4, 5, 3, 2, 2) and drawn.shape == (3, 2, 2)
    for image in (means, drawn):
        assert jnp.all((image >= 0) & (image <= 1))


def test_bernoulli_sums_over_pixels():
    likelihood = make_likelihood("bernoulli", 2, 2)
    logits, images = _parameters(likelihood, (5,)), jnp.round(_images())
    of_pixels = np.log(np.where(images == 1, expit(logits), expit(-np.asarray(logits))))
    expected = of_pixels.sum((1, 2, 3))
    np.testing.assert_allclose(likelihood.log_probability(logits, images), expected, rtol=1e-5)
    np.testing.assert_allclose(likelihood.mean(logits), expit(logits), rtol=1e-5)
    drawn = likelihood.sample(jax.random.key(0), logits[0])
    assert set(np.unique(drawn)) <= {0, 1}


def test_gaussian_is_the_density_of_a_level():
    likelihood = make_likelihood("gaussian", 2, LEVELS, scale=0.3)
    assert likelihood.size == 2
    mean, images = _parameters(likelihood, (5,)), _images()
    of_pixels = norm.logpdf(images, mean, 0.3) - np.log(LEVELS)
    values = likelihood.log_probability(mean, images)
    np.testing.assert_allclose(values, of_pixels.sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(likelihood.mean(mean), np.clip(mean, 0, 1))


def test_gaussian_with_the_decoders_own_scale_never_below_a_tenth_of_a_level():
    likelihood = make_likelihood("gaussian", 2, LEVELS)
    assert likelihood.size == 4
    parameters, images = _parameters(likelihood, (5,)), _images()
    mean, raw = np.split(np.asarray(parameters), 2, axis=-1)
    spread = 0.1 / LEVELS + np.log1p(np.exp(raw))
    of_pixels = norm.logpdf(images, mean, spread) - np.log(LEVELS)
    values = likelihood.log_probability(parameters, images)
    np.testing.assert_allclose(values, of_pixels.sum((1, 2, 3)), rtol=1e-5)
    least = likelihood.pixels(jnp.full((1, 1, 4), -100.0)).log_scale
    np.testing.assert_allclose(np.exp(least), 0.1 / LEVELS, rtol=1e-5)


def test_logistic_mixture_sums_over_pixels():
    """One grey channel, written out as differences of the cumulative distribution."""
    likelihood = make_likelihood("logistic_mixture", 1, LEVELS, mixtures=3)
    assert likelihood.size == 9
    parameters, images = _parameters(likelihood, (5,)), _images(channels=1)
    weights, means, log_scales = np.split(np.asarray(parameters, np.float64), 3, axis=-1)
    x, half = 2 * np.asarray(images, np.float64) - 1, 1 / (LEVELS - 1)
    upper = np.where(x > 1 - half, 1, expit((x + half - means) / np.exp(log_scales)))
    lower = np.where(x < half - 1, 0, expit((x - half - means) / np.exp(log_scales)))
    of_pixels = logsumexp(log_softmax(weights, -1) + np.log(upper - lower), axis=-1)
    values = likelihood.log_probability(parameters, images)
    np.testing.assert_allclose(values, of_pixels.sum((1, 2)), rtol=1e-4)
    drawn = np.asarray(likelihood.sample(jax.random.key(0), parameters[0])) * (LEVELS - 1)
    np.testing.assert_allclose(drawn, np.round(drawn), atol=1e-4)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"name": "gausian"}, "did you mean 'gaussian'"),
        ({"mixtures": 0}, "mixtures = 0"),
        ({"levels": 1}, "levels = 1"),
        ({"scale": -0.1}, "scale = -0.1"),
        ({"scale": float("inf")}, "scale = inf"),
    ],
)
def test_bad_names_and_numbers_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        make_likelihood(**{"name": "gaussian", "channels": 1, "levels": LEVELS, **changed})
