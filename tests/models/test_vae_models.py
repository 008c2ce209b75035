"""Latent-variable models: sizes they make, densities they claim, flows, codebooks, ladders."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import norm

from jaxmodels.errors import InputError
from jaxmodels.models.code_prior import CodePrior
from jaxmodels.models.flows import InverseAutoregressiveFlow
from jaxmodels.models.vaes import create_vae
from jaxmodels.models.vqvae import Quantizer
from tests.marks import slow_but
from tests.objectives import vae_toys
from tests.objectives.vae_toys import OPTIONS, grey_images

KEY = jax.random.key(7)
NAMES = ("mlp", "conv", "ladder", "vqvae")


def _model(name, shape=(8, 8, 1), parameters=2, classes=0, dtype=jnp.float32, **options):
    return create_vae(name, shape, parameters, classes, dtype, **(OPTIONS[name] | options))


def variables_of(*args, **options):
    return jax.tree.map(jnp.asarray, vae_toys.variables_of(*args, **options))


def _infer(model, variables, images, labels=None, keys=None, samples=1):
    infer = functools.partial(model.apply, method="infer")
    return jax.jit(infer, static_argnums=4)(variables, images, labels, keys, samples)


def _images(count=5):
    return jnp.asarray(grey_images(count)["image"])


CASES = [(name, {}) for name in NAMES]
CASES += [("mlp", {"flows": 2}), ("conv", {"blocks": 1}), ("vqvae", {"blocks": 1})]
CASES += [("ladder", {"depth": depth}) for depth in ((2,), (0, 1), (1, 0, 2), (1, 1, 0, 1))]


SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (9, 30, 1)]


@pytest.mark.parametrize("name, options", CASES, ids=str)
@pytest.mark.parametrize("shape", slow_but((9, 30, 1), SHAPES))
def test_shapes(name, options, shape):
    model = _model(name, shape, parameters=5, classes=3, dtype=jnp.bfloat16, **options)

    def run():
        images, labels = jnp.zeros((2, *shape)), jnp.zeros(2, jnp.int32)
        keys = jax.random.split(KEY, 2)
        found, variables = model.init_with_output(KEY, images, labels, keys, 3, method="infer")
        latents = model.apply(variables, keys, labels, method="prior")
        return found, latents, model.apply(variables, latents, labels, method="decode")

    found, latents, decoded = jax.eval_shape(run)
    assert (found.parameters.shape, found.parameters.dtype) == ((3, 2, *shape[:2], 5), jnp.float32)
    assert (decoded.shape, decoded.dtype) == ((2, *shape[:2], 5), jnp.float32)
    of_posterior = jax.tree.map(lambda leaf: leaf.shape[1:], found.latents)
    assert of_posterior == jax.tree.map(lambda leaf: leaf.shape, latents)
    assert found.log_prior.shape == found.log_posterior.shape == (3, 2)
    assert found.kl.shape[0] == 2
    if name == "ladder":
        depth = options.get("depth", (1, 1))
        assert found.kl.shape[1] == len(latents) == sum(depth)
        quarter = tuple(-(-side // 4) for side in shape[:2])
        levels = [(1, 1), tuple(-(-side // 2) for side in quarter), quarter]
        levels.append(tuple(-(-side // 2) for side in shape[:2]))
        sizes = [size for size, groups in zip(levels, depth) for _ in range(groups)]
        assert [leaf.shape[1:3] for leaf in latents] == sizes


@pytest.mark.parametrize("name", ["conv", "ladder", "vqvae"])
def test_too_small_images_are_refused_with_the_fix(name):
    with pytest.raises(InputError, match=r"3x9.*--model mlp.*--image-size"):
        variables_of(_model(name, (3, 9, 1)), (3, 9, 1))


def test_linear_layers_make_any_size():
    assert variables_of(_model("mlp", (1, 3, 1)), (1, 3, 1))


@pytest.mark.parametrize(
    "name, option, fix",
    [
        ("ladder", {"flows": 2}, "--model mlp or conv"),
        ("mlp", {"depth": (1, 1)}, "--model ladder"),
        ("conv", {"hidden": (8,)}, "--model mlp"),
        ("vqvae", {"latent_size": 2}, "--model mlp or conv or ladder"),
        ("mlp", {"codes": 3}, "--model vqvae"),
    ],
)
def test_options_that_a_model_does_not_have_name_those_that_do(name, option, fix):
    with pytest.raises(InputError, match=rf"{next(iter(option))} = .*{fix}$"):
        _model(name, **option)


def test_unknown_models():
    with pytest.raises(InputError, match="did you mean 'vqvae'"):
        create_vae("vqae", (8, 8, 1), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name, options", [("mlp", {}), ("mlp", {"flows": 1}), ("ladder", {})])
def test_without_keys_inference_follows_the_means(name, options):
    """Of the first latents: what they average to over samples (of a flow: what it makes of it)."""
    model = _model(name, **options)
    variables, images = variables_of(model), _images(2)
    means = jax.tree.leaves(_infer(model, variables, images).latents)[0]
    many = _infer(model, variables, images, None, jax.random.split(KEY, 2), 2000)
    drawn = np.asarray(jax.tree.leaves(many.latents)[0])
    assert drawn.std(0).min() > 1e-3
    if options:
        again = _infer(model, variables, images, None, None, 2)
        np.testing.assert_allclose(again.latents, np.broadcast_to(means, again.latents.shape))
        return
    error = drawn.std(0) / 2000**0.5
    np.testing.assert_array_less(np.abs(drawn.mean(0) - means[0]), 4.5 * error)


def test_densities_of_one_layer_of_latents():
    model = _model("mlp")
    variables, images = variables_of(model), _images(4)
    found = _infer(model, variables, images, None, jax.random.split(KEY, 4), 3)
    mean, log_scale = model.apply(variables, images, None, method="encode")
    np.testing.assert_allclose(found.log_prior, norm.logpdf(found.latents).sum(-1), rtol=1e-5)
    expected = norm.logpdf(found.latents, mean, np.exp(log_scale)).sum(-1)
    np.testing.assert_allclose(found.log_posterior, expected, rtol=1e-4, atol=1e-4)
    variance = np.exp(2 * log_scale)
    np.testing.assert_allclose(found.kl, (variance + mean**2 - 1) / 2 - log_scale, atol=1e-5)
    for sample, parameters in zip(found.latents, found.parameters):
        decoded = model.apply(variables, sample, None, method="decode")
        np.testing.assert_allclose(parameters, decoded, rtol=1e-4, atol=1e-5)


def test_densities_of_a_ladder():
    """The analytic KL of each group has the mean of the log-ratio at the samples."""
    model = _model("ladder")
    variables, images = variables_of(model), _images(2)
    found = _infer(model, variables, images, None, jax.random.split(KEY, 2), 2000)
    ratio = found.log_posterior - found.log_prior
    error = np.std(ratio, axis=0) / 2000**0.5
    assert np.min(found.kl) > 0.01
    np.testing.assert_array_less(np.abs(np.mean(ratio, axis=0) - found.kl.sum(-1)), 4.5 * error)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_decoding_what_was_inferred_gives_its_parameters(name):
    model = _model(name, classes=3)
    variables, images, labels = variables_of(model, classes=3), _images(), np.arange(5) % 3
    found = _infer(model, variables, images, labels, jax.random.split(KEY, 5))
    latents = jax.tree.map(lambda leaf: leaf[0], found.latents)
    decode = jax.jit(functools.partial(model.apply, method="decode"))
    decoded = decode(variables, latents, labels)
    assert np.std(decoded, axis=0).mean() > 1e-3
    np.testing.assert_allclose(decoded, found.parameters[0], rtol=1e-4, atol=1e-5)
    other = decode(variables, latents, (labels + 1) % 3)
    assert np.abs(other - decoded).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_label_is_part_of_the_inference(name):
    model = _model(name, classes=3)
    variables, images = variables_of(model, classes=3), _images(1)
    found = _infer(model, variables, jnp.tile(images, (3, 1, 1, 1)), np.arange(3))
    assert np.std(found.kl, axis=0).max() > 1e-4
    assert np.std(found.parameters[0], axis=0).max() > 1e-4


@pytest.mark.slow
def test_a_ladder_starts_with_a_kl_of_zero_and_a_prior_that_is_the_standard_one():
    model = _model("ladder")
    images = _images(2)
    create = functools.partial(model.init, method="infer")
    variables = jax.jit(create)(KEY, images, None, jax.random.split(KEY, 2))
    found = _infer(model, variables, images, None, jax.random.split(KEY, 2), 3)
    np.testing.assert_allclose(found.kl, 0, atol=1e-6)
    flat = np.concatenate([np.reshape(leaf, (3, 2, -1)) for leaf in found.latents], -1)
    np.testing.assert_allclose(found.log_prior, norm.logpdf(flat).sum(-1), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_draws_of_the_prior_depend_on_their_own_key_only(name):
    model = _model(name)
    variables, keys = variables_of(model), jax.random.split(KEY, 3)
    prior = jax.jit(functools.partial(model.apply, method="prior"))
    some = np.array([0, 2])
    three, two = (jax.tree.leaves(prior(variables, each, None)) for each in (keys, keys[some]))
    for whole, part in zip(three, two):
        np.testing.assert_allclose(whole[some], part, rtol=1e-4, atol=1e-5)
    assert any(np.abs(leaf[0] - leaf[1]).max() > 0 for leaf in three)


def _flow(size=4, width=30):
    flow = InverseAutoregressiveFlow(width, jnp.float64)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, size)))
    context = jnp.asarray(np.random.default_rng(1).normal(size=(1, 3)))
    shapes = jax.eval_shape(flow.init, KEY, z, context)
    generator = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape)), shapes)
    return lambda z, context: flow.apply(params, z[None, None], context[None]), z[0, 0], context[0]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [1, 2, 4])
def test_slope_of_a_flow_is_the_determinant_of_its_triangular_jacobian(size):
    flow, z, context = _flow(size)
    jacobian = jax.jit(jax.jacfwd(lambda z: flow(z, context)[0][0, 0]))(z)
    slope = flow(z, context)[1][0, 0]
    np.testing.assert_array_equal(np.triu(jacobian, 1), 0)
    below = np.abs(jacobian[np.tril_indices(size, -1)])
    assert np.all(below > 0)
    # The gates are float32.
    assert np.sum(slope) == pytest.approx(np.linalg.slogdet(jacobian)[1], rel=1e-5)
    np.testing.assert_allclose(slope, np.log(np.diag(jacobian)), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_all_latents_of_a_flow_depend_on_the_context():
    flow, z, context = _flow()
    jacobian = jax.jit(jax.jacfwd(lambda context: flow(z, context)[0][0, 0]))(context)
    assert np.all(np.abs(jacobian) > 0)


@pytest.mark.usefixtures("float64")
def test_density_of_flows_by_the_change_of_variables(monkeypatch):
    model = _model("mlp", flows=3)
    variables, images = variables_of(model), jnp.asarray(_images(1), jnp.float64)
    noise = jnp.asarray(np.random.default_rng(3).normal(size=3))

    def infer(noise):
        made = noise[None, None]
        monkeypatch.setattr("jaxmodels.models.vae.normal_noise", lambda *_: made)
        return model.apply(variables, images, None, None, method="infer")

    found = jax.jit(infer)(noise)
    jacobian = jax.jit(jax.jacfwd(lambda noise: infer(noise).latents[0, 0]))(noise)
    assert np.all(np.abs(jacobian[np.triu_indices(3)]) > 0), "the order is reversed between flows"
    expected = norm.logpdf(noise).sum() - np.linalg.slogdet(jacobian)[1]
    assert found.log_posterior[0, 0] == pytest.approx(expected, rel=1e-5)
    latents = found.latents[0, 0]
    assert found.log_prior[0, 0] == pytest.approx(norm.logpdf(latents).sum(), rel=1e-9)
    assert found.kl.sum() == pytest.approx(expected - norm.logpdf(latents).sum(), rel=1e-4)


def _code_prior(codes, positions, classes=0):
    prior = CodePrior(codes, positions, width=8, heads=2, classes=classes)
    labels = jnp.zeros(1, jnp.int32) if classes else None
    shapes = jax.eval_shape(prior.init, KEY, jnp.zeros((1, positions), jnp.int32), labels)
    generator = np.random.default_rng(4)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * generator.normal(size=leaf.shape), jnp.float32), shapes
    )
    return prior, variables, jax.jit(prior.apply)


def test_codes_depend_on_those_before_them_only():
    _, variables, logits = _code_prior(5, 6)
    codes = jnp.asarray(np.random.default_rng(5).integers(0, 5, (1, 6)))
    before = logits(variables, codes)
    assert before.shape == (1, 6, 5)
    for position in range(6):
        changed = codes.at[0, position].set((codes[0, position] + 1) % 5)
        moved = np.abs(logits(variables, changed) - before).max(-1)[0]
        np.testing.assert_array_equal(moved[: position + 1], 0)
        assert np.all(moved[position + 1 :] > 1e-5)


def test_the_class_conditions_all_codes():
    _, variables, logits = _code_prior(5, 4, classes=2)
    codes = jnp.zeros((2, 4), jnp.int32)
    found = logits(variables, codes, jnp.arange(2))
    assert np.all(np.abs(found[0] - found[1]).max(-1) > 1e-4)


@pytest.mark.slow
def test_grids_of_codes_are_drawn_with_their_probabilities():
    prior, variables, logits = _code_prior(3, 2)
    grids = np.array(list(itertools.product(range(3), repeat=2)))
    logs = log_softmax(logits(variables, grids), axis=-1)
    expected = np.exp(np.take_along_axis(logs, grids[..., None], -1).sum((1, 2)))
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    draw = jax.jit(functools.partial(prior.apply, method="sample"))
    drawn = draw(variables, jax.random.split(KEY, 10_000))
    shares = np.bincount(np.asarray(drawn[:, 0] * 3 + drawn[:, 1]), minlength=9) / 10_000
    error = np.sqrt(expected * (1 - expected) / 10_000)
    np.testing.assert_array_less(np.abs(shares - expected), 4.5 * error + 1e-4)


def _quantizer(codes=6, size=3, **options):
    generator = np.random.default_rng(6)
    embeddings = generator.normal(size=(codes, size)).astype(np.float32)
    counts = generator.uniform(0.5, 2, codes).astype(np.float32)
    codebook = {"embeddings": embeddings, "sums": embeddings * counts[:, None], "counts": counts}
    vectors = generator.normal(size=(4, 5, size)).astype(np.float32)
    return Quantizer(codes, size, **options), {"codebook": codebook}, vectors


@jax.jit
def _follow(variables, vectors, key):
    quantizer = Quantizer(*variables["codebook"]["embeddings"].shape, decay=0.6)
    return quantizer.apply(variables, vectors, mutable=["codebook"], rngs={"restart": key})


def test_the_nearest_code_is_chosen_and_passes_the_gradient_on():
    quantizer, *arrays = _quantizer()
    variables, vectors = jax.tree.map(jnp.asarray, arrays)
    nearest, chosen = quantizer.apply(variables, vectors)
    embeddings = variables["codebook"]["embeddings"]
    distances = np.square(vectors[..., None, :] - embeddings).sum(-1)
    np.testing.assert_array_equal(chosen, distances.argmin(-1))
    np.testing.assert_allclose(nearest, embeddings[chosen], atol=1e-6)
    np.testing.assert_array_equal(
        quantizer.apply(variables, chosen, method="lookup"), embeddings[chosen]
    )
    gradient = jax.grad(lambda v: jnp.sum(jnp.sin(quantizer.apply(variables, v)[0])))(vectors)
    np.testing.assert_allclose(gradient, np.cos(embeddings[chosen]), atol=1e-5)


def test_codes_follow_averages_of_the_vectors_that_chose_them():
    _, variables, vectors = _quantizer()
    before = variables["codebook"]
    (nearest, chosen), changed = _follow(variables, vectors, KEY)
    after = changed["codebook"]
    # The vectors of this step still have the codes from before it.
    np.testing.assert_allclose(nearest, before["embeddings"][chosen], atol=1e-6)
    flat, chosen = vectors.reshape(-1, 3), np.ravel(chosen)
    member = np.eye(6)[chosen]
    counts = 0.6 * before["counts"] + 0.4 * member.sum(0) * 6 / 20
    sums = 0.6 * before["sums"] + 0.4 * (member.T @ flat) * 6 / 20
    np.testing.assert_allclose(after["counts"], counts, rtol=1e-5)
    np.testing.assert_allclose(after["sums"], sums, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["embeddings"], sums / counts[:, None], rtol=1e-3)


def test_a_code_that_nobody_chooses_starts_again_at_a_vector():
    _, variables, vectors = _quantizer()
    codebook = variables["codebook"]
    codebook["embeddings"][4] = 99.0
    codebook["counts"][4] = 0.012
    _, changed = _follow(variables, vectors, KEY)
    after = changed["codebook"]
    assert after["counts"][4] == 1
    np.testing.assert_array_equal(after["sums"][4], after["embeddings"][4])
    distance = np.abs(vectors.reshape(-1, 3) - after["embeddings"][4]).max(-1)
    assert distance.min() == 0
    other = _follow(variables, vectors, jax.random.key(8))[1]["codebook"]["embeddings"]
    assert np.any(other[4] != after["embeddings"][4])
    np.testing.assert_array_equal(np.delete(other, 4, 0), np.delete(after["embeddings"], 4, 0))


def test_all_codes_come_into_use():
    _, variables, _ = _quantizer()
    variables["codebook"]["embeddings"][1:] += 50.0
    variables["codebook"]["sums"][1:] += 50.0
    generator, used = np.random.default_rng(7), []
    for step in range(40):
        vectors = generator.normal(size=(64, 3)).astype(np.float32)
        (_, chosen), changed = _follow(variables, vectors, jax.random.fold_in(KEY, step))
        variables = changed
        used.append(len(np.unique(chosen)))
    assert used[0] == 1
    assert used[-5:] == [6] * 5


def test_the_codebook_changes_in_training_only():
    model = _model("vqvae")
    variables, images = variables_of(model), _images()
    embeddings = variables["codebook"]["quantizer"]["embeddings"]

    def infer(variables, **options):
        return model.apply(variables, images, None, None, method="infer", **options)

    found, nothing = jax.jit(lambda v: infer(v, mutable=["spectral"]))(variables)
    assert not nothing
    rngs = {"restart": KEY}
    trained, changed = jax.jit(lambda v: infer(v, mutable=["codebook"], rngs=rngs))(variables)
    assert np.any(changed["codebook"]["quantizer"]["embeddings"] != embeddings)
    np.testing.assert_allclose(trained.parameters, found.parameters, rtol=1e-4, atol=1e-5)


def test_the_kl_of_codes_is_what_the_prior_makes_of_them():
    model = _model("vqvae")
    variables, images = variables_of(model), _images()
    found = _infer(model, variables, images, None, None, 2)
    prior = CodePrior(6, 4)
    logs = log_softmax(
        prior.apply({"params": variables["params"]["code_prior"]}, found.codes), axis=-1
    )
    expected = np.take_along_axis(logs, found.codes[..., None], -1).sum((1, 2))
    np.testing.assert_allclose(found.log_prior, np.stack([expected] * 2), rtol=1e-4)
    np.testing.assert_allclose(found.kl[:, 0], -expected, rtol=1e-4)
    np.testing.assert_array_equal(found.log_posterior, np.zeros((2, 5)))
    np.testing.assert_array_equal(found.latents, np.stack([found.codes] * 2))


def test_the_commitment_pulls_the_encoder_alone():
    model = _model("vqvae")
    variables, images = variables_of(model), _images()

    def commitment(variables):
        found = model.apply(variables, images, None, None, method="infer")
        return jnp.sum(found.commitment)

    slopes = jax.jit(jax.grad(commitment))(variables)
    assert np.abs(slopes["params"]["before"]["kernel"]).max() > 0
    for name in ("decoder", "after", "code_prior"):
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(slopes["params"][name]))
    assert not np.any(slopes["codebook"]["quantizer"]["embeddings"])
