"""The objective of variational autoencoders: what a step minimises, and what is scored."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.objectives import generation
from jaxmodels.objectives.importance_sampling import ImportanceSampling
from jaxmodels.objectives.likelihoods import LIKELIHOODS
from jaxmodels.objectives.vae import VariationalAutoencoder
from jaxmodels.objectives.variational_bounds import (
    maximum_mean_discrepancy,
    total_correlation_terms,
)
from jaxmodels.objectives.variational_config import BOUNDS
from jaxmodels.objectives.variational_scores import VariationalSums, evaluation_scores
from jaxmodels.protocol import Mean, Objective, example_keys
from jaxmodels.train.evaluation import SplitProgram
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram
from tests.marks import slow
from tests.objectives.vae_toys import configs_of, grey_images, small_vae, source, start

KEY = jax.random.key(7)

needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


def _batch(count=12):
    return {name: column[:count] for name, column in grey_images().items()}


def _scored(count=12):
    return _batch(count) | {"valid": np.ones(count, bool), "position": np.arange(count)}


def _close(tree, other, **tolerance):
    tolerance = {"rtol": 1e-5, "atol": 1e-5, **tolerance}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), tree, other)


ALLOWED = [("mlp", bound, "bernoulli", {}) for bound in BOUNDS]
ALLOWED += [("mlp", "elbo", name, {}) for name in LIKELIHOODS if name != "bernoulli"]
ALLOWED += [("conv", bound, "bernoulli", {}) for bound in BOUNDS]
ALLOWED += [
    ("mlp", bound, "gaussian", {"flows": 2}) for bound in ("elbo", "iwae", "infovae", "wae")
]
ALLOWED += [("ladder", bound, "bernoulli", {"depth": (1,)}) for bound in ("elbo", "iwae")]
FLAGS = {
    "iwae": {"particles": 3},
    "dreg": {"particles": 3},
    "beta_tc": {"beta": 3.0, "stratified": True},
    "infovae": {"alpha": 0.5},
}


@pytest.mark.parametrize(
    "model, bound, likelihood, options",
    # Every bound with one network, and every network with one bound.
    [
        case if case[0] == "mlp" or case[:2] == ("vqvae", "elbo") else slow(*case)
        for case in ALLOWED
    ],
)
def test_any_model_takes_steps_with_any_bound_that_it_allows(model, bound, likelihood, options):
    objective = small_vae(
        model,
        likelihood,
        classes=3,
        options=options,
        objective=bound,
        ema=0.9,
        **FLAGS.get(bound, {}),
    )
    _takes_steps(objective, jax.jit(objective.step))


def _takes_steps(objective, step):
    """The state after two steps that are as they should be."""
    batch = _batch()
    state = start(objective, batch)
    first = state["params"]
    for number in range(2):
        state, sums = step(state, batch, jax.random.fold_in(KEY, number))
        scores = objective.summarize(sums)
        assert set(scores) == {"loss", "elbo", "reconstruction", "kl"}
        assert all(map(np.isfinite, scores.values()))
        assert set(scores) <= set(objective.scores)
        assert scores["elbo"] == pytest.approx(-scores["reconstruction"] - scores["kl"], rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    assert state["step"] == 2
    moved = [not np.array_equal(*p) for p in zip(*map(jax.tree.leaves, (first, state["params"])))]
    assert np.mean(moved) > 0.7
    return state


@functools.cache
def _codebook():
    """The vector-quantised model and its programs, compiled once."""
    flags = {"ema": 0.9, "learning_rate": 0.05, "commitment": 0.5}
    objective = small_vae("vqvae", "gaussian", classes=3, **flags)
    return objective, jax.jit(objective.step), jax.jit(objective.evaluate)


def test_a_codebook_takes_steps():
    objective, step, _ = _codebook()
    state = _takes_steps(objective, step)
    before = start(objective, _batch())["collections"]["codebook"]["quantizer"]
    after = state["collections"]["codebook"]["quantizer"]
    assert all(np.any(before[name] != after[name]) for name in before)


REFUSED = [
    ("mlp", "dreg", {"flows": 1}, "--flows 0"),
    ("conv", "beta_tc", {"flows": 1}, "--flows 0"),
    ("ladder", "dreg", {}, "--model mlp or conv"),
    ("ladder", "beta_tc", {}, "--model mlp or conv"),
    ("ladder", "infovae", {}, "--model mlp or conv"),
    ("ladder", "wae", {}, "--model mlp or conv"),
    *[("vqvae", bound, {}, "--objective elbo") for bound in BOUNDS if bound != "elbo"],
]


@pytest.mark.parametrize("model, bound, options, fix", REFUSED)
def test_bounds_that_a_model_does_not_allow_are_refused_with_the_fix(model, bound, options, fix):
    objective = small_vae(model, options=options, objective=bound)
    with pytest.raises(InputError, match=rf"objective = {bound}.*{fix}"):
        start(objective, _batch())


@pytest.mark.parametrize("flags", [{"particles": 2}, {"free_bits": 0.1}])
def test_one_certain_code_has_no_more_samples_and_no_free_bits(flags):
    objective = small_vae("vqvae", **flags)
    with pytest.raises(InputError, match="--objective elbo"):
        start(objective, _batch())


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"objective": "elbow"}, "did you mean 'elbo'"),
        ({"particles": 0}, "particles = 0"),
        ({"particles": 2, "objective": "wae"}, "--objective elbo or iwae or dreg"),
        ({"free_bits": 0.5, "objective": "iwae"}, "--objective elbo"),
        ({"alpha": 0.5}, "--objective infovae"),
        ({"stratified": True}, "--objective beta_tc"),
        ({"beta": 2.0, "objective": "wae"}, "beta = 2.0; objective 'wae' has no such"),
        ({"kl_warmup": 5, "objective": "wae"}, "kl_warmup = 5; objective 'wae' has no such"),
        ({"alpha": 1.0, "objective": "infovae"}, "--objective wae"),
        ({"alpha": -0.1, "objective": "infovae"}, "alpha = -0.1; expected 0 <= alpha"),
        ({"alpha": float("-inf"), "objective": "infovae"}, "alpha = -inf; expected 0"),
        ({"alpha": float("nan"), "objective": "infovae"}, "alpha = nan; expected 0"),
        ({"beta": -1.0}, "beta = -1"),
        ({"mmd": float("nan")}, "mmd = nan"),
        ({"commitment": float("inf")}, "commitment = inf"),
        ({"kl_warmup": -1}, "kl_warmup = -1"),
        ({"ema": 1.0}, "ema = 1"),
        ({"learning_rate": -1.0}, "learning_rate = -1"),
    ],
)
def test_bad_numbers_and_names(flags, message):
    with pytest.raises(InputError, match=message):
        for config in configs_of(flags):
            config.validate()


def test_fewer_than_one_importance_sample_is_refused():
    objective = small_vae()
    with pytest.raises(InputError, match="samples = 0"):
        ImportanceSampling(objective.model, objective.likelihood, 0)


def test_the_weight_of_the_kl_is_in_the_loss_and_in_no_score():
    objective = small_vae(beta=3.0, particles=2)
    batch = _batch()
    state, step = start(objective, batch), jax.jit(objective.step)
    scores = objective.summarize(step(state, batch, KEY)[1])
    assert scores["loss"] == pytest.approx(scores["reconstruction"] + 3 * scores["kl"], rel=1e-5)
    numbers = {**state["hyperparameters"], "beta": np.float32(0.5)}
    other = {**state, "hyperparameters": numbers}
    changed = objective.summarize(step(other, batch, KEY)[1])
    expected = scores["reconstruction"] + 0.5 * scores["kl"]
    assert changed.pop("loss") == pytest.approx(expected, rel=1e-5)
    assert changed == {name: scores[name] for name in ("elbo", "reconstruction", "kl")}
    assert step._cache_size() == 1
    evaluate = jax.jit(objective.evaluate)
    _close(evaluate(state, _scored(), KEY), evaluate(other, _scored(), KEY), rtol=0, atol=0)


@pytest.mark.parametrize("bound", ["beta_tc", "infovae", "wae"])
def test_losses_are_put_together_from_their_terms(bound):
    flags = {"beta_tc": {"beta": 3.0}, "infovae": {"beta": 3.0, "alpha": 0.3}, "wae": {}}[bound]
    objective = small_vae(objective=bound, mmd=20.0, **flags)
    module, likelihood = objective.model, objective.likelihood
    batch = _batch()
    state = start(objective, batch)
    sums = jax.jit(objective.step)(state, batch, KEY)[1]
    noise, _, prior = jax.random.split(KEY, 3)

    @jax.jit
    def expected():
        keys = example_keys(noise, jnp.arange(12))
        images = jnp.asarray(batch["image"])
        params = jax.tree.map(jnp.asarray, state["params"])
        found = module.apply({"params": params}, images, None, keys, method="infer")
        reconstruction = -likelihood.log_probability(found.parameters[0], images)
        latents, kl = found.latents[0], jnp.sum(found.kl, axis=-1)
        of_prior = jax.vmap(lambda key: jax.random.normal(key, (3,)))(
            example_keys(prior, jnp.arange(12))
        )
        distance = maximum_mean_discrepancy(latents, of_prior)
        terms = total_correlation_terms(latents, *found.posterior, 48)
        return {
            "beta_tc": reconstruction + terms[0] + 3 * terms[1] + terms[2],
            "infovae": reconstruction + 0.7 * 3 * kl + (20 - 0.7) * distance,
            "wae": reconstruction + 20 * distance,
        }

    assert sums["loss"].value() == pytest.approx(float(np.mean(expected()[bound])), rel=1e-5)


def test_warm_up_is_linear_in_the_step_and_traced():
    objective = small_vae(beta=2.0, kl_warmup=4)
    batch = _batch()
    state, step = start(objective, batch), jax.jit(objective.step)
    for number in (0, 1, 3, 4, 9):
        scores = objective.summarize(step({**state, "step": np.int32(number)}, batch, KEY)[1])
        weight = 2 * min(1, (number + 1) / 4)
        expected = scores["reconstruction"] + weight * scores["kl"]
        assert scores["loss"] == pytest.approx(expected, rel=1e-5)
    assert step._cache_size() == 1


def test_free_bits_leave_the_scores_alone():
    free = small_vae(free_bits=1000.0)
    plain = small_vae()
    batch = _batch()
    state = start(free, batch)
    scores, expected = (o.summarize(jax.jit(o.step)(state, batch, KEY)[1]) for o in (free, plain))
    assert scores.pop("loss") == pytest.approx(expected["reconstruction"] + 3000, rel=1e-5)
    assert scores == {name: expected[name] for name in scores}


def test_accumulation_gives_the_gradient_of_the_whole_batch():
    """With a posterior so narrow that its noise, which is keyed by the part, does not matter."""
    sgd = {"optimizer": "sgd", "learning_rate": 0.1}
    whole = small_vae(**sgd)
    parts = small_vae(accumulate=2, **sgd)
    batch = _batch()
    state = start(whole, batch)
    state["params"]["moments"]["bias"][3:] = -40.0
    expected, sums = jax.jit(whole.step)(state, batch, KEY)
    found, of_parts = jax.jit(parts.step)(state, batch, KEY)
    _close(found, expected)
    _close(of_parts, sums)
    assert of_parts["loss"].count == 12


def test_the_average_is_what_is_scored_and_sampled():
    objective, step, evaluate = _codebook()
    state = _takes_steps(objective, step)
    assert set(state["ema"]) == {"params", "collections"}
    average = {**state, **state["ema"], "ema": {}}
    found, expected, last = (
        evaluate(s, _scored(), KEY) for s in (state, average, {**state, "ema": {}})
    )
    _close(found, expected)
    assert abs(found.elbo.value() - last.elbo.value()) > 1e-3
    draw = jax.jit(objective.sample, static_argnums=2)
    np.testing.assert_array_equal(*(draw(s, KEY, 4)["images"] for s in (state, average)))


def test_units_are_active_when_their_means_vary_by_more_than_a_hundredth():
    means = np.random.default_rng(0).normal(size=(50, 3)) * 0.1
    means = (means - means.mean(0)) / means.std(0) * np.sqrt([0.0098, 0.0102, 2.0]) + [3, 0, -1]
    sums = VariationalSums(
        elbo=Mean(np.float32(-100), np.int32(50)),
        reconstruction=Mean(np.float32(80), np.int32(50)),
        kl=Mean(np.float32(20), np.int32(50)),
        first=means.sum(0),
        second=np.square(means).sum(0),
        codes=np.zeros(0, np.int32),
    )
    scores = evaluation_scores(sums, (2, 3, 1))
    assert scores == {
        "elbo": -2,
        "reconstruction": pytest.approx(1.6),
        "kl": pytest.approx(0.4),
        "bits_per_dim": pytest.approx(2 / 6 / np.log(2)),
        "active_units": 2,
    }


def test_scores_of_images_with_padding():
    objective = small_vae()
    module = objective.model
    state, batch = start(objective, _batch()), _scored()
    valid = np.arange(12) < 9
    image = np.where(valid[:, None, None, None], batch["image"], np.nan)
    sums = jax.jit(objective.evaluate)(state, {**batch, "image": image, "valid": valid}, KEY)
    assert sums.elbo.count == 9
    variables = {"params": state["params"]}
    variables = jax.tree.map(jnp.asarray, variables)
    shown = jnp.asarray(batch["image"][:9])
    means = module.apply(variables, shown, None, method="encode").mean
    np.testing.assert_allclose(sums.first, np.sum(means, axis=0), rtol=1e-5)
    np.testing.assert_allclose(sums.second, np.sum(np.square(means), axis=0), rtol=1e-5)
    predicted = jax.jit(objective.predict)(state, batch, KEY)
    np.testing.assert_allclose(predicted["latents"][:9], means, rtol=1e-5)
    logits = module.apply(variables, means, None, method="decode")
    np.testing.assert_allclose(predicted["reconstruction"][:9], jax.nn.sigmoid(logits), rtol=1e-4)


def test_perplexity_of_the_codes_that_are_chosen():
    objective, _, evaluate = _codebook()
    state, batch = start(objective, _batch()), _scored()
    batch["image"] = 9 * jax.random.normal(KEY, batch["image"].shape)
    codes = jax.jit(objective.predict)(state, batch, KEY)["latents"][:9]
    valid = np.arange(12) < 9
    sums = evaluate(state, {**batch, "valid": valid}, KEY)
    counts = np.bincount(np.ravel(codes), minlength=6)
    np.testing.assert_array_equal(sums.codes, counts)
    shares = counts[counts > 0] / counts.sum()
    scores = objective.summarize(jax.device_get(sums))
    assert len(shares) > 1
    assert scores["perplexity"] == pytest.approx(np.prod(shares**-shares), rel=1e-6)
    assert "active_units" not in scores


def test_scores_are_declared_with_what_is_better():
    better = {name: score.better for name, score in VariationalAutoencoder.scores.items()}
    assert better == {
        "loss": "lower",
        "elbo": "higher",
        "reconstruction": "lower",
        "kl": "neither",
        "bits_per_dim": "lower",
        "active_units": "neither",
        "perplexity": "higher",
        "nll": "lower",
    }


@pytest.mark.parametrize("codes", [np.zeros(0, np.int32), np.array([3, 0, 9])])
def test_every_score_of_an_evaluation_is_declared(codes):
    mean = Mean(np.float32(-7), np.int32(12))
    sums = VariationalSums(mean, mean, mean, np.ones(3), np.ones(3), codes)
    scores = evaluation_scores(sums, (8, 8, 1))
    assert set(scores) <= set(VariationalAutoencoder.scores)
    assert ("perplexity" in scores) == bool(codes.size)


def test_the_elbo_of_each_image_is_what_an_evaluation_sums():
    objective = small_vae()
    state = start(objective, _batch())
    each = jax.jit(objective.elbo)(state, _scored(), KEY)
    assert each.shape == (12,)
    sums = jax.jit(objective.evaluate)(state, _scored(), KEY)
    assert sums.elbo.value() == pytest.approx(float(np.mean(each)), rel=1e-6)


@needs_8
def test_noise_of_an_evaluation_is_that_of_the_position_in_the_split():
    """Whatever the batch size and the number of devices; also of importance samples."""
    objective = small_vae()
    state = start(objective, _batch())
    sampling = ImportanceSampling(objective.model, objective.likelihood, 4)
    nll = Objective.of(objective)._replace(evaluate=sampling.evaluate)
    found = []
    for batch_size, devices in ((3, 1), (5, 1), (16, 8)):
        mesh = make_mesh(f"data={devices}")
        split = SplitProgram(source(37), batch_size, KEY, mesh)
        found.append([split.sum(each.evaluate, state) for each in (objective, nll)])
    for other in found[1:]:
        _close(found[0], other, rtol=1e-5, atol=1e-4)
    assert found[0][0].elbo.count == found[0][1]["nll"].count == 37
    noisy = SplitProgram(source(37), 37, jax.random.key(8), make_mesh("data=1"))
    noisy = noisy.sum(objective.evaluate, state)
    difference = noisy.reconstruction.total - found[0][0].reconstruction.total
    assert abs(difference) > 0.01


@pytest.mark.parametrize("rows", [5000, 12])
def test_noise_of_importance_samples_does_not_depend_on_the_batch_size(rows):
    """Also where the samples of an image do not fit into one call of the decoder."""
    objective = small_vae()
    state = start(objective, _batch())
    sampling = ImportanceSampling(objective.model, objective.likelihood, 4, rows=rows)
    nll = Objective.of(objective)._replace(evaluate=sampling.evaluate)
    found = [
        SplitProgram(source(37), batch_size, KEY, make_mesh("data=1")).sum(nll.evaluate, state)
        for batch_size in (3, 5, 37)
    ]
    for other in found[1:]:
        _close(found[0], other, rtol=1e-5, atol=1e-4)


@pytest.mark.campaign
@needs_8
@pytest.mark.parametrize(
    ("model", "likelihood", "flags"),
    [
        slow("mlp", "logistic_mixture", {"free_bits": 0.1}),
        slow("mlp", "gaussian", {"objective": "beta_tc", "stratified": True}),
        slow("mlp", "gaussian", {"objective": "infovae", "mmd": 10.0}),
        slow("vqvae", "gaussian", {}),
    ],
)
def test_eight_devices_give_what_one_gives(model, likelihood, flags):
    """Under pmap too, where losses compare images of different devices. SGD: Adam would amplify the
    noise of gradients that are zero in truth. Of the codebook one code dies on the way and starts
    again."""
    results = []
    flags = {"optimizer": "sgd", "learning_rate": 1e-4, "ema": 0.9, "kl_warmup": 5, **flags}
    for devices, parallel in ((1, "jit"), (8, "jit"), (8, "pmap")):
        objective = small_vae(model, likelihood, **flags)
        mesh = make_mesh(f"data={devices}")
        run = TrainProgram(objective, source(), 16, 8, 3, mesh, parallel=parallel)
        state = start(objective, _batch())
        if model == "vqvae":
            codebook = state["collections"]["codebook"]["quantizer"]
            codebook["counts"][2], codebook["embeddings"][2] = 0.0102, 99.0
        state, window = run.advance(jax.device_put(state, run.shardings.whole), run.zeros(), 0, 8)
        if model == "vqvae":
            codebook = state["collections"]["codebook"]["quantizer"]
            assert np.abs(codebook["embeddings"][2]).max() < 50
        split = SplitProgram(source(37), 16, run.keys.evaluate, mesh)
        results.append((state, window, split.sum(objective.evaluate, state)))
    for other in results[1:]:
        _close(results[0], other, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("model", [slow("mlp"), slow("ladder"), "vqvae"])
def test_samples_in_chunks_are_those_drawn_one_by_one(model, monkeypatch):
    monkeypatch.setattr(generation, "CHUNK", 3)
    objective = small_vae(model, classes=3, ema=0.9)
    module, likelihood = objective.model, objective.likelihood
    state = start(objective, _batch())
    drawn = jax.jit(objective.sample, static_argnums=2)(state, KEY, 7)
    assert drawn["images"].shape == (7, 8, 8, 1)
    assert drawn["images"].dtype == jnp.uint8
    np.testing.assert_array_equal(drawn["labels"], np.arange(7) % 3)

    @jax.jit
    def one(variables, key, label):
        latents = module.apply(variables, key[None], label[None], method="prior")
        parameters = module.apply(variables, latents, label[None], method="decode")
        return likelihood.mean(parameters)[0], jax.tree.map(lambda leaf: leaf[0], latents)

    keys, labels = example_keys(KEY, jnp.arange(7)), np.arange(7) % 3
    variables = {"params": state["params"], **state["collections"]}
    singles = [one(variables, key, label) for key, label in zip(keys, labels)]
    means = np.stack([mean for mean, _ in singles])
    difference = np.abs(np.asarray(drawn["images"], float) - 255 * means)
    assert difference.max() < 0.51 + 1e-2
    latents = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(pair[1] for pair in singles))
    again = jax.jit(objective.sample)(state, KEY, {"latents": latents, "labels": labels})
    difference = np.asarray(again["images"], int) - np.asarray(drawn["images"], int)
    assert np.abs(difference).max() <= 1


def test_samples_may_be_draws_of_the_likelihood():
    objective = small_vae(draw="sample")
    mean = small_vae()
    state = start(objective, _batch())
    drawn = jax.jit(objective.sample, static_argnums=2)(state, KEY, 400)
    assert set(drawn) == {"images"}
    assert set(np.unique(drawn["images"])) == {0, 255}
    means = jax.jit(mean.sample, static_argnums=2)(state, KEY, 400)["images"]
    shares = np.mean(np.asarray(drawn["images"]) / 255, axis=0)
    expected = np.mean(np.asarray(means) / 255, axis=0)
    assert np.abs(shares - expected).max() < 4.5 * np.sqrt(0.25 / 400)
