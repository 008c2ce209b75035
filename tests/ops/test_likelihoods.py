"""Log-likelihoods against scipy and exact arithmetic, at extremes too, and their samples."""

import functools
import itertools
from decimal import Decimal, getcontext, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import logistic, norm

from jaxmodels.ops.likelihoods import (
    bernoulli_log_likelihood,
    gaussian_kl,
    gaussian_log_likelihood,
    logistic_mixture_log_likelihood,
    logistic_mixture_mean,
    logistic_mixture_of,
    logistic_mixture_sample,
    logistic_mixture_size,
)
from tests.ops.compiling import quick_jit

bernoulli = quick_jit(bernoulli_log_likelihood)
kl = quick_jit(gaussian_kl)
mixture_log_likelihood = quick_jit(logistic_mixture_log_likelihood, static_argnums=2)
mixture_mean = quick_jit(logistic_mixture_mean, static_argnums=1)


@pytest.mark.usefixtures("float64")
def test_bernoulli_by_the_definition():
    logits, grey = np.random.default_rng(0).normal(size=(2, 50)) * 2
    grey = 1 / (1 + np.exp(-grey))
    p = 1 / (1 + np.exp(-logits))
    for x in (np.zeros(50), np.ones(50), grey):
        expected = x * np.log(p) + (1 - x) * np.log(1 - p)
        np.testing.assert_allclose(bernoulli(logits, x), expected, rtol=1e-12)


def test_bernoulli_at_extreme_logits():
    value_and_slope = quick_jit(jax.value_and_grad(bernoulli_log_likelihood))
    cases = [(1000, 1, 0, 0), (1000, 0, -1000, -1), (-1000, 1, -1000, 1), (-1000, 0, 0, 0)]
    for logit, x, expected, slope in [*cases, (1000, 0.25, -750, -0.75)]:
        found = value_and_slope(jnp.float32(logit), jnp.float32(x))
        np.testing.assert_allclose(found, (expected, slope), rtol=1e-6)


@pytest.mark.usefixtures("float64")
def test_gaussian_equals_scipy():
    mean, log_scale, x = np.random.default_rng(1).normal(size=(3, 50)) * 2
    found = quick_jit(gaussian_log_likelihood)(mean, log_scale, x)
    np.testing.assert_allclose(found, norm.logpdf(x, mean, np.exp(log_scale)), rtol=1e-11)
    total = lambda *args: gaussian_log_likelihood(*args).sum()  # noqa: E731
    slopes = quick_jit(jax.grad(total, (0, 1)))(mean, log_scale, x)
    scaled = (x - mean) / np.exp(log_scale)
    np.testing.assert_allclose(slopes[0], scaled / np.exp(log_scale), rtol=1e-11)
    np.testing.assert_allclose(slopes[1], scaled**2 - 1, rtol=1e-9, atol=1e-12)


def test_gaussian_at_extreme_means():
    value_and_slope = quick_jit(jax.value_and_grad(gaussian_log_likelihood))
    for mean in (-1000.0, 1000.0):
        value, slope = value_and_slope(mean, 0.0, 1.0)
        assert value == pytest.approx(norm.logpdf(1, mean, 1), rel=1e-6)
        assert slope == pytest.approx(1 - mean, rel=1e-6)


@pytest.mark.usefixtures("float64")
def test_kl_is_the_integral_of_its_definition():
    for mean, log_scale, prior_mean, prior_log_scale in [
        (0.3, -0.5, 0.0, 0.0),
        (2.0, 0.7, -1.0, 0.2),
        (-1.5, -1.0, 0.5, 1.2),
    ]:
        q, p = norm(mean, np.exp(log_scale)), norm(prior_mean, np.exp(prior_log_scale))
        expected, error = quad(
            lambda z, q=q, p=p: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), *q.interval(1 - 1e-14)
        )
        found = kl(mean, log_scale, prior_mean, prior_log_scale)
        assert found == pytest.approx(expected, abs=1e-7 + error)
        assert kl(mean, log_scale, mean, log_scale) == 0
    assert kl(0.3, -0.5) == kl(0.3, -0.5, 0.0, 0.0)


@pytest.mark.usefixtures("float64")
def test_mixture_by_differences_of_distribution_functions():
    generator = np.random.default_rng(2)
    levels, x = 9, np.linspace(-1, 1, 9)
    parameters = generator.normal(size=(3 * 3,)) * 0.5
    weights, means, log_scales = np.split(parameters, 3)
    edges = np.concatenate([[-np.inf], (x[1:] + x[:-1]) / 2, [np.inf]])[:, None]
    mass = np.diff(logistic.cdf(edges, means, np.exp(log_scales)), axis=0)
    expected = np.log(mass @ (np.exp(weights) / np.exp(weights).sum()))
    found = mixture_log_likelihood(np.tile(parameters, (9, 1)), x[:, None], levels)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def _exact(parameters, x, levels):
    """The log-probability of one grey pixel by one mixture, in as many digits as it takes."""
    weights, means, log_scales = (parameters[i::3] for i in range(3))
    half, one = Decimal(1) / (levels - 1), Decimal(1)

    def below(edge, mean, scale):
        return one / (one + ((mean - edge) / scale).exp())

    total = Decimal(0)
    for weight, mean, log_scale in zip(weights, means, log_scales):
        scale = max(log_scale, Decimal(-7)).exp()
        if x == 1:
            mass = below(-(x - half), -mean, scale)
        elif x == -1:
            mass = below(x + half, mean, scale)
        else:
            sign = -1 if x > mean else 1  # the lower tail has all its digits, the upper has not
            ends = [below(sign * x + side * half, sign * mean, scale) for side in (1, -1)]
            mass = ends[0] - ends[1]
        total += weight.exp() * mass
    return (total / sum(weight.exp() for weight in weights)).ln()


ORDINARY = (0.3, 0.1, -2.0, -0.4, -0.2, -3.0)  # weight, mean, log scale of two logistics
EXTREMES = [
    {at: sign * 1000.0 for at in chosen}
    for sign in (-1, 1)
    for chosen in [(0,), (1,), (2,), (1, 4), (2, 5)]
]
EXTREMES += [{}, {0: 1000.0, 3: -1000.0}, {1: 1000.0, 4: -1000.0}, {2: 1000.0, 5: -1000.0},
             {0: 1000.0, 1: -1000.0, 2: -1000.0}, {1: 1000.0, 2: 1000.0, 4: -1000.0}]  # fmt: skip


@quick_jit
def _of_bytes(parameters, x):
    return jax.value_and_grad(lambda p: logistic_mixture_log_likelihood(p, x, 256))(parameters)


@pytest.mark.slow
@pytest.mark.parametrize("x", [-1.0, 17 / 255 * 2 - 1, 1.0])
@pytest.mark.parametrize("changes", EXTREMES, ids=str)
def test_mixture_at_extreme_parameters(changes, x):
    """Values and slopes in float32."""
    values = [changes.get(at, number) for at, number in enumerate(ORDINARY)]
    # Ours has the weights first, then the means, then the log scales.
    ours = jnp.array(values, jnp.float32).reshape(2, 3).T.ravel()
    value, slopes = _of_bytes(ours, jnp.array([x], jnp.float32))
    with localcontext() as context:
        context.prec = 520
        exact = [Decimal(number) for number in values]
        pixel = Decimal(round((x + 1) * 127.5)) * 2 / 255 - 1
        start = _exact(exact, pixel, 256)
        step = Decimal(10) ** -25
        expected = []
        for at in range(6):
            moved = [number + step * (at == i) for i, number in enumerate(exact)]
            expected.append(float((_exact(moved, pixel, 256) - start) / step))
    assert getcontext().prec == 28
    assert jnp.all(jnp.isfinite(slopes))
    np.testing.assert_allclose(value, float(start), rtol=1e-4)
    slopes = np.asarray(slopes).reshape(3, 2).T.ravel()
    np.testing.assert_allclose(slopes, expected, rtol=1e-3, atol=2e-4)


def _parameters(generator, channels, mixtures=3, scales=(-12.0, 12.0)):
    parameters = generator.normal(size=logistic_mixture_size(channels, mixtures))
    at = mixtures * (1 + channels)
    parameters[at : at + mixtures * channels] = generator.uniform(*scales, mixtures * channels)
    return parameters


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("levels, channels", [(2, 1), (17, 1), (256, 1), (2, 3), (4, 3), (5, 2)])
def test_probabilities_of_all_levels_sum_to_one(levels, channels):
    grid = np.linspace(-1, 1, levels)
    x = np.array(list(itertools.product(grid, repeat=channels)))
    generator = np.random.default_rng(3)
    ranges = ((-12.0, 12.0), (-7.0, -5.0), (-2.0, 0.0), (8.0, 30.0))
    parameters = np.stack(
        [_parameters(generator, channels, scales=ranges[number % 4]) for number in range(20)]
    )
    each = np.broadcast_to(parameters[:, None], (20, len(x), parameters.shape[1]))
    found = mixture_log_likelihood(each, np.tile(x, (20, 1, 1)), levels)
    np.testing.assert_allclose(logsumexp(found, axis=1), 0, atol=5e-9)


@pytest.mark.usefixtures("float64")
def test_later_channels_move_with_the_earlier_ones():
    generator = np.random.default_rng(4)
    parameters = _parameters(generator, 3, mixtures=1, scales=(-2.0, 0.0))
    mixture = quick_jit(logistic_mixture_of, static_argnums=1)(parameters, 3)
    means, log_scales = mixture.means[:, 0], mixture.log_scales[:, 0]
    of_green, of_blue, of_both = np.tanh(parameters[7:])
    np.testing.assert_allclose(mixture.coefficients[:, 0], (of_green, of_blue, of_both))
    x = np.array([-0.5, 0.5, 0.0])
    moved = (
        means[0],
        means[1] + of_green * x[0],
        means[2] + of_blue * x[0] + of_both * x[1],
    )
    edges = x[:, None] + np.array([-0.25, 0.25])
    mass = np.diff(logistic.cdf(edges, np.array(moved)[:, None], np.exp(log_scales)[:, None]))
    found = mixture_log_likelihood(parameters, x, 5)
    assert found == pytest.approx(np.log(mass).sum(), rel=1e-9)


@functools.partial(quick_jit, static_argnums=(1, 2))
def _draw(parameters, channels, levels):
    return logistic_mixture_sample(jax.random.key(0), parameters, channels, levels)


@pytest.mark.parametrize("levels, channels", [(2, 1), (5, 1), (3, 3)])
def test_samples_have_the_probabilities(levels, channels):
    parameters = _parameters(np.random.default_rng(5), channels, scales=(-3.0, 0.0))
    grid = np.linspace(-1, 1, levels)
    x = np.array(list(itertools.product(grid, repeat=channels)), np.float32)
    each = np.broadcast_to(parameters, (len(x), len(parameters))).astype(np.float32)
    expected = np.exp(mixture_log_likelihood(each, x, levels))
    count = 40_000
    many = jnp.broadcast_to(each[0], (count, len(parameters)))
    drawn = _draw(many, channels, levels)
    assert drawn.shape == (count, channels)
    digits = np.round((np.asarray(drawn) + 1) * (levels - 1) / 2).astype(int)
    np.testing.assert_allclose(digits * 2 / (levels - 1) - 1, drawn, atol=1e-6)
    cells = np.ravel_multi_index(tuple(digits.T), (levels,) * channels)
    shares = np.bincount(cells, minlength=len(x)) / count
    error = np.sqrt(expected * (1 - expected) / count)
    np.testing.assert_array_less(np.abs(shares - expected), 4.5 * error + 1e-4)


@pytest.mark.usefixtures("float64")
def test_mean_of_mass_well_inside():
    parameters = np.array([0.3, -0.5, 0.4, -0.2, -4.0, -3.5])
    grid = np.linspace(-1, 1, 256)
    each = np.broadcast_to(parameters, (256, 6))
    probabilities = np.exp(mixture_log_likelihood(each, grid[:, None], 256))
    found = mixture_mean(parameters, 1)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(probabilities @ grid, abs=1e-5)
    assert mixture_mean(np.array([0.0, 7.0, 0.0]), 1)[0] == 1


@pytest.mark.usefixtures("float64")
def test_mean_of_a_later_channel_follows_that_of_the_earlier_ones():
    """In a single narrow logistic: it is where the samples are."""
    parameters = np.array([0.0, 0.4, -0.1, 0.2, -6.0, -6.0, -6.0, 0.5, -0.3, 0.8])
    drawn = _draw(jnp.broadcast_to(parameters, (500, 10)), 3, 256)
    np.testing.assert_allclose(mixture_mean(parameters, 3), drawn.mean(0), atol=2e-3)
