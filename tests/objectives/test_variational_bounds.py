"""Variational bounds against a model whose likelihood, posterior and bounds are known."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from jaxmodels.objectives.importance_sampling import ImportanceSampling
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.vae import VariationalAutoencoder
from jaxmodels.objectives.variational_bounds import (
    importance_weighted_bound,
    maximum_mean_discrepancy,
    regularized_kl,
    total_correlation_terms,
)
from jaxmodels.objectives.variational_config import VariationalConfig
from jaxmodels.protocol import example_keys
from tests.objectives.vae_toys import (
    FIXED_GAUSSIAN,
    LATENTS,
    LinearGaussian,
    kl_to_posterior,
    linear_params,
    log_marginal,
    start,
)

pytestmark = pytest.mark.usefixtures("float64")
KEY = jax.random.key(7)


@functools.cache
def _images():
    return np.random.default_rng(1).normal(size=(3, 2, 2, 1))


def _keys():
    return jax.random.split(KEY, 3000)


@functools.cache
def _program(objective, particles, points):
    """Steps of the linear model on the images, one per key, compiled once for all tests."""
    made = VariationalAutoencoder(
        LinearGaussian(points),
        FIXED_GAUSSIAN,
        VariationalConfig(objective=objective, particles=particles),
        OptimizerConfig(optimizer="sgd", learning_rate=1.0, schedule="constant"),
        steps=9,
        shape=(2, 2, 1),
        dataset_size=100,
    )
    batch = {"image": jnp.asarray(_images())}
    state = jax.tree.map(jnp.asarray, start(made, batch))

    @jax.jit
    def run(params, beta, keys):
        numbers = {**state["hyperparameters"], "beta": beta}
        before = {**state, "hyperparameters": numbers, "params": params}

        def one(key):
            after, sums = made.step(before, batch, key)
            given = (params, {}, batch, key, made.weights(before))
            if objective == "dreg":
                terms = made.doubly_reparameterized(*given)[1]
            else:
                terms = made.terms(*given)[0]
            return sums, terms, jax.tree.map(jnp.subtract, params, after["params"])

        return jax.vmap(one)(keys)

    return run


def _steps(params, objective="elbo", particles=4, points=False, beta=1.0):
    """The terms of each image in steps from the same state, and their gradients, for all keys."""
    run = _program(objective, particles, points)
    sums, terms, gradients = run(params, np.float32(beta), _keys())
    # A step sums these terms, in float32.
    assert set(sums) == set(terms)
    for name, mean in sums.items():
        np.testing.assert_allclose(mean.total, np.sum(terms[name], axis=-1), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(mean.count, len(_images()))
    return terms, gradients


def _average(tree):
    """Mean and standard error over keys."""
    mean = jax.tree.map(lambda leaf: np.mean(leaf, axis=0), tree)
    return mean, jax.tree.map(lambda leaf: np.std(leaf, axis=0) / len(leaf) ** 0.5, tree)


@functools.partial(jax.jit, static_argnums=2)
def _log_weights(params, keys, samples):
    """Of samples of the linear model on the images; and log p(x|z) and the KL."""
    found = LinearGaussian().apply(
        {"params": params}, _images(), None, keys, samples, method="infer"
    )
    likelihood = FIXED_GAUSSIAN.log_probability(found.parameters, _images())
    return likelihood + found.log_prior - found.log_posterior, likelihood, found.kl


@jax.jit
def _loss_by_closed_form(params):
    """The negative ELBO per image, and the gradient of its mean."""

    def loss(params):
        return kl_to_posterior(params, _images()) - log_marginal(params, _images())

    return loss(params), jax.grad(lambda p: jnp.mean(loss(p)))(params)


def _close(tree, other, atol=1e-9):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), tree, other)


def _within(tree, expected, errors, times=4):
    jax.tree.map(
        lambda a, b, e: np.testing.assert_array_less(np.abs(a - b), times * e + 1e-12),
        tree,
        expected,
        errors,
    )


@pytest.mark.parametrize("objective, particles", [("iwae", 1), ("iwae", 4), ("dreg", 4)])
def test_every_weight_is_the_likelihood_at_the_exact_posterior(objective, particles):
    params = linear_params(exact=True)
    sums, gradients = _steps(params, objective, particles)
    expected = -log_marginal(params, _images())
    _close(sums["loss"], np.broadcast_to(expected, sums["loss"].shape))
    if objective == "dreg":
        # The weight does not depend on the sample any more.
        for name in params:
            largest = np.abs(gradients[name]).max()
            assert largest < 1e-9 if name.startswith("encoder") else largest > 0.1


@pytest.mark.parametrize("samples", [1, 13])
def test_importance_samples_are_exact_at_the_exact_posterior(samples):
    params = linear_params(exact=True)
    _close(_importance_sampled(params, samples), -log_marginal(params, _images()))


def _importance_sampled(params, samples, positions=(0, 1, 2), rows=5000):
    sampling = ImportanceSampling(LinearGaussian(), FIXED_GAUSSIAN, samples, rows=rows)
    state = {"params": params, "collections": {}, "ema": {}}
    batch = {"image": _images(), "valid": np.ones(3, bool), "position": np.array(positions)}
    nll = jax.jit(sampling.nll)(state, batch, KEY)
    mean = jax.jit(sampling.evaluate)(state, batch, KEY)["nll"]
    assert mean.value() == pytest.approx(float(np.mean(nll)), rel=1e-6)
    return nll


@pytest.mark.parametrize("exact", [True, False])
def test_elbo_is_the_likelihood_less_the_divergence_from_the_posterior(exact):
    """Value and all gradients; the expectation over q is exact, by points in place of noise."""
    params = linear_params(exact)
    sums, gradients = jax.tree.map(
        lambda leaf: leaf[0], _steps(params, particles=2 * LATENTS, points=True)
    )
    loss, expected = _loss_by_closed_form(params)
    _close(sums["loss"], loss)
    _close(sums["elbo"], -loss)
    _close(gradients, expected)
    largest = max(np.abs(gradients[name]).max() for name in params if name.startswith("encoder"))
    assert largest < 1e-9 if exact else largest > 0.1


def test_elbo_with_noise_has_that_mean():
    params = linear_params()
    sums, gradients = _steps(params)
    mean, error = _average((sums["loss"], gradients))
    _within(mean, _loss_by_closed_form(params), error)
    assert error[0].max() < 0.05


def test_importance_weighted_gradient_is_that_of_the_likelihood_at_the_exact_posterior():
    params = linear_params(exact=True)
    mean, error = _average(_steps(params, "iwae")[1])
    # There the ELBO's gradient is that of the likelihood, too.
    _within(mean, _loss_by_closed_form(params)[1], error, times=4.5)
    assert error["decoder_weights"].max() < 0.05


def test_one_particle_gives_the_elbo_with_the_kl_of_the_sample():
    params = linear_params()
    sums, _ = jax.tree.map(lambda leaf: leaf[0], _steps(params, "iwae", 1))
    keys = example_keys(jax.random.split(_keys()[0], 3)[0], jnp.arange(3))
    log_weights, likelihood, kl = _log_weights(params, keys, 1)
    _close(-sums["loss"], log_weights[0])
    # The score has the KL in closed form.
    _close(sums["elbo"], likelihood[0] - kl.sum(-1))


def test_the_bound_rises_with_the_number_of_samples():
    params = linear_params()
    found = [_average(-_steps(params, "iwae", number)[0]["loss"]) for number in (1, 4, 16)]
    for (low, below), (high, above) in itertools.pairwise(found):
        np.testing.assert_array_less(4 * np.hypot(below, above), high - low)
    expected = log_marginal(params, _images())
    np.testing.assert_array_less(found[-1][0], expected + 4 * found[-1][1])
    _within(found[0][0], -_loss_by_closed_form(params)[0], found[0][1])


def test_bound_of_given_weights():
    log_weights = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)) * 9)
    expected = np.log(np.mean(np.exp(log_weights), axis=0))
    _close(importance_weighted_bound(log_weights), expected, 1e-12)
    assert jnp.all(jnp.isfinite(importance_weighted_bound(log_weights - 3000)))


@pytest.mark.parametrize("beta", [1.0, 0.3, 2.0])
def test_doubly_reparameterized_gradient_is_unbiased(beta):
    """Of the same bound, weight of the KL included."""
    params = linear_params()
    plain, doubly = (_steps(params, objective, beta=beta) for objective in ("iwae", "dreg"))
    _close(plain[0], doubly[0], 1e-12)
    mean, error = _average(jax.tree.map(jnp.subtract, plain[1], doubly[1]))
    for name, leaf in mean.items():
        if name.startswith("decoder"):
            _close(leaf, np.zeros_like(leaf), 1e-12)
        else:
            _within(leaf, np.zeros_like(leaf), error[name])
            assert error[name].min() > 0


def test_doubly_reparameterized_gradient_is_quieter_with_many_samples():
    params = linear_params()
    noise = {}
    for objective in ("iwae", "dreg"):
        gradients = _steps(params, objective, 16)[1]
        noise[objective] = sum(
            np.var(leaf, axis=0).sum()
            for name, leaf in gradients.items()
            if name.startswith("encoder")
        )
    assert noise["dreg"] < noise["iwae"] / 3


@pytest.mark.parametrize("rows", [1, 15, 5000])
def test_importance_samples_are_streamed_exactly(rows):
    """13 samples of 3 images, however many rows the decoder takes at once."""
    params, positions = linear_params(), (4, 0, 9)
    keys = example_keys(KEY, jnp.array(positions))
    fold = jax.jit(jax.vmap(jax.random.fold_in, (0, None)))
    log_weights = np.concatenate(
        [_log_weights(params, fold(keys, number), 1)[0] for number in range(13)]
    )
    expected = np.log(13) - logsumexp(log_weights, axis=0)
    _close(_importance_sampled(params, 13, positions, rows), expected)


def test_many_importance_samples_estimate_the_likelihood():
    params = linear_params()
    found = _importance_sampled(params, 20_000)
    _close(found, -log_marginal(params, _images()), 0.05)
    assert np.abs(found + log_marginal(params, _images())).min() > 0


def test_padding_is_not_scored():
    state = {"params": linear_params(), "collections": {}, "ema": {}}
    evaluate = jax.jit(ImportanceSampling(LinearGaussian(), FIXED_GAUSSIAN, 5).evaluate)
    whole = {"image": _images(), "valid": np.ones(3, bool), "position": np.arange(3)}
    valid = np.array([True, True, False])
    image = np.where(valid[:, None, None, None], _images(), np.nan)
    padded = {**whole, "image": image, "valid": valid}
    two = jax.tree.map(lambda column: column[:2], whole)
    found, expected = evaluate(state, padded, KEY)["nll"], evaluate(state, two, KEY)["nll"]
    assert found.count == 2
    assert found.value() == pytest.approx(expected.value(), rel=1e-6)


def test_free_bits_count_for_groups_below_them():
    kl = jnp.array([[0.1, 2.0, 0.2], [0.3, 1.0, 0.6]])  # means 0.2, 1.5 and 0.4
    _close(regularized_kl(kl), jnp.sum(kl, axis=-1))
    value, slope = jax.value_and_grad(lambda kl: regularized_kl(kl, 0.4).sum())(kl)
    assert value == pytest.approx(2 * 0.4 + 3.0 + 0.8)
    _close(slope, jnp.array([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))


def _codes(batch=5, size=3):
    generator = np.random.default_rng(2)
    mean, log_scale, noise = generator.normal(size=(3, batch, size))
    return mean + np.exp(log_scale) * noise, mean, log_scale


def _stratified_weights(batch, dataset_size):
    """Written out for each pair: z_i's own density stands for itself, that of the example after it
    for all that are not in the batch, any other for a share of the batch."""
    weights = np.empty((batch, batch))
    for i in range(batch):
        for j in range(batch):
            if i == j:
                weights[i, j] = 1 / dataset_size
            elif j == (i + 1) % batch:
                weights[i, j] = (dataset_size - batch + 1) / (dataset_size * (batch - 1))
            else:
                weights[i, j] = 1 / (batch - 1)
    return weights


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("batch, dataset_size", [(5, 40), (2, 7), (5, 5)])
def test_total_correlation_by_loops(stratified, batch, dataset_size):
    z, mean, log_scale = _codes(batch)
    weights = np.full((batch, batch), 1 / (batch * dataset_size))
    if stratified:
        weights = _stratified_weights(batch, dataset_size)
        np.testing.assert_allclose(weights.sum(1), 1)
    information, correlation, dimensions = (np.zeros(batch) for _ in range(3))
    for i in range(batch):
        density = norm.pdf(z[i], mean, np.exp(log_scale))  # of z_i under each posterior
        joint = np.log(weights[i] @ density.prod(1))
        marginals = np.log(weights[i] @ density).sum()
        information[i] = norm.logpdf(z[i], mean[i], np.exp(log_scale[i])).sum() - joint
        correlation[i] = joint - marginals
        dimensions[i] = marginals - norm.logpdf(z[i]).sum()
    found = jax.jit(total_correlation_terms, static_argnums=(3, 4))(
        *_codes(batch), dataset_size, stratified
    )
    _close(found, (information, correlation, dimensions), 1e-10)


@pytest.mark.parametrize("stratified", [False, True])
def test_the_three_terms_sum_to_the_kl_of_the_sample(stratified):
    z, mean, log_scale = _codes(11, 4)
    found = jax.jit(total_correlation_terms, static_argnums=(3, 4))(
        z, mean, log_scale, 60, stratified
    )
    expected = norm.logpdf(z, mean, np.exp(log_scale)).sum(1) - norm.logpdf(z).sum(1)
    _close(sum(found), expected, 1e-10)


def test_discrepancy_by_loops():
    generator = np.random.default_rng(3)
    one, other = generator.normal(size=(6, 2)), 1 + 2 * generator.normal(size=(6, 2))

    def kernel(a, b):
        distance = ((a - b) ** 2).sum()
        scales = (2 * 2 * scale for scale in (0.1, 0.2, 0.5, 1, 2, 5, 10))
        return sum(scale / (scale + distance) for scale in scales)

    within = sum(
        kernel(points[i], points[j]) / 30
        for points in (one, other)
        for i in range(6)
        for j in range(6)
        if i != j
    )
    across = sum(kernel(a, b) / 36 for a in one for b in other)
    found = jax.jit(maximum_mean_discrepancy)(one, other)
    assert found == pytest.approx(within - 2 * across, abs=1e-12)


def test_discrepancy_of_equal_distributions_is_zero_on_average():
    def of(key, shift):
        one, other = jax.random.normal(key, (2, 10, 3))
        return maximum_mean_discrepancy(one + shift, other)

    keys = jax.random.split(KEY, 2000)
    for shift in (0.0, 0.5):
        found = jax.jit(jax.vmap(lambda key, shift=shift: of(key, shift)))(keys)
        error = jnp.std(found) / 2000**0.5
        assert jnp.abs(jnp.mean(found)) < 3 * error if not shift else jnp.mean(found) > 9 * error
