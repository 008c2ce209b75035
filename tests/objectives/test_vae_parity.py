"""Losses, gradients and likelihoods of variational autoencoders against pythae's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.vaes import create_vae
from jaxmodels.models.vqvae import Quantizer
from jaxmodels.objectives.importance_sampling import ImportanceSampling
from jaxmodels.objectives.likelihoods import make_likelihood
from jaxmodels.objectives.vae import VariationalAutoencoder
from jaxmodels.ops.latents import normal_noise
from jaxmodels.protocol import example_keys
from tests.objectives.vae_toys import configs_of, small_vae, start, variables_of
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
models = pytest.importorskip("pythae.models")
# Arrays of torch come as numpy, which annotations of the package do not allow.
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("unchecked")]

KEY = jax.random.key(7)
SHAPE, LATENTS, BATCH, DATASET = (3, 4, 1), 2, 5, 60
SIZES = {"input_dim": (1, 3, 4), "latent_dim": LATENTS, "reconstruction_loss": "bce"}


def _theirs(kind, **options):
    """A model of pythae's with its own networks, in float64."""
    torch.manual_seed(0)
    name = {"INFOVAE_MMD": "INFOVAE_MMD_Config"}.get(kind, f"{kind}Config")
    made = getattr(models, kind)(getattr(models, name)(**SIZES, **options)).double()
    return made.train()


def _layer(linear):
    return {"kernel": linear.weight.detach().numpy().T, "bias": linear.bias.detach().numpy()}


def _to_ours(model, of=_layer):
    """The parameters of `model`, or what `of` makes of each linear layer, as our tree."""
    encoder, decoder = model.encoder, model.decoder
    moments = [of(layer) for layer in (encoder.embedding, encoder.log_var)]
    tree = {
        "encoder": {"Dense_0": of(encoder.layers[0][0])},
        "moments": jax.tree.map(lambda a, b: np.concatenate([a, b], axis=-1), *moments),
        "decoder": {
            "Dense_0": of(decoder.layers[0][0]),
            "Dense_1": of(decoder.layers[1][0]),
        },
    }
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tree)


def _gradients(linear):
    return {"kernel": linear.weight.grad.numpy().T, "bias": linear.bias.grad.numpy()}


def _images():
    return (np.random.default_rng(0).random((BATCH, *SHAPE)) < 0.4).astype(np.float32)


def _to_torch(images):
    return torch.tensor(images.transpose(0, 3, 1, 2), dtype=torch.float64)


def _ours(params, **flags):
    """Loss per image and gradients of a step from these parameters, and its noise."""
    sgd = {"optimizer": "sgd", "learning_rate": 1.0, "schedule": "constant"}
    config, optimizer = configs_of(sgd | flags)
    config.validate()
    module = create_vae("mlp", SHAPE, 1, hidden=(512,), latent_size=LATENTS)
    likelihood = make_likelihood("bernoulli", 1, 2)
    objective = VariationalAutoencoder(
        module, likelihood, config, optimizer, steps=9, shape=SHAPE, dataset_size=DATASET
    )
    batch = {"image": _images()}
    state = {**start(objective, batch), "params": params}
    after, sums = jax.jit(objective.step)(state, batch, KEY)
    gradients = jax.tree.map(lambda a, b: np.asarray(a, np.float64) - b, params, after["params"])
    noise, _, prior = jax.random.split(KEY, 3)
    eps = normal_noise(example_keys(noise, np.arange(BATCH)), config.particles, BATCH, (LATENTS,))
    of_prior = normal_noise(example_keys(prior, np.arange(BATCH)), 1, BATCH, (LATENTS,))[0]
    return sums["loss"].value(), gradients, np.asarray(eps), np.asarray(of_prior)


def _with_noise(model, eps, monkeypatch):
    eps = torch.tensor(eps, dtype=torch.float64)
    monkeypatch.setattr(model, "_sample_gauss", lambda mean, scale: (mean + eps * scale, eps))


def _agree(gradients, model):
    expected = _to_ours(model, _gradients)
    # Both of float32 parameters; ours are differences of them.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), gradients, expected
    )
    assert np.abs(expected["moments"]["kernel"]).max() > 1e-3


CASES = {
    "VAE": ({}, {}, {}),
    "BetaVAE": ({"beta": 4.0}, {"beta": 4.0}, {}),
    "BetaTCVAE": (
        # Its stratified weights index the matrix by a flat stride that hits the first column
        # instead of the diagonal, so that only the weighted estimate is compared.
        {"beta": 5.0, "use_mss": False},
        {"objective": "beta_tc", "beta": 5.0},
        {"dataset_size": DATASET},
    ),
    "INFOVAE_MMD": (
        {"alpha": 0.3, "lbd": 20.0},
        {"objective": "infovae", "alpha": 0.3, "mmd": 20.0},
        {},
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_loss_and_gradients(kind, monkeypatch):
    options, flags, extra = CASES[kind]
    model = _theirs(kind, **options)
    value, gradients, eps, of_prior = _ours(_to_ours(model), **flags)
    _with_noise(model, eps[0], monkeypatch)
    monkeypatch.setattr(
        torch, "randn_like", lambda z, **_: torch.tensor(of_prior, dtype=torch.float64)
    )
    loss = model({"data": _to_torch(_images())}, **extra).loss
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-5)
    _agree(gradients, model)


def test_importance_weighted_bound_and_its_gradient(monkeypatch):
    """Its loss has the gradient of the bound, not its value, which is that of its log-weights."""
    samples = 4
    model = _theirs("IWAE", number_samples=samples)
    value, gradients, eps, _ = _ours(_to_ours(model), objective="iwae", particles=samples)
    _with_noise(model, eps.swapaxes(0, 1), monkeypatch)
    model({"data": _to_torch(_images())}).loss.backward()
    _agree(gradients, model)
    model.n_samples = 1
    log_weights = np.empty((samples, BATCH))
    for sample in range(samples):
        for image in range(BATCH):
            one = slice(image, image + 1)
            _with_noise(model, eps[sample, one][None], monkeypatch)
            log_weights[sample, image] = -model({"data": _to_torch(_images()[one])}).loss.item()
    expected = -np.mean(np.log(np.mean(np.exp(log_weights), axis=0)))
    assert value == pytest.approx(expected, rel=1e-5)


def test_likelihood_by_importance_sampling():
    """Two estimates of the same model, with noise of their own."""
    samples = 2000
    model = _theirs("VAE").eval()
    torch.manual_seed(1)
    with torch.no_grad():
        theirs = -model.get_nll(_to_torch(_images()), n_samples=samples, batch_size=500)
    module = create_vae("mlp", SHAPE, 1, hidden=(512,), latent_size=LATENTS)
    likelihood, params = make_likelihood("bernoulli", 1, 2), _to_ours(model)
    evaluate = jax.jit(ImportanceSampling(module, likelihood, samples).evaluate)
    state = {"params": params, "collections": {}, "ema": {}}
    batch = {"image": _images(), "valid": np.ones(BATCH, bool), "position": np.arange(BATCH)}
    ours = evaluate(state, batch, KEY)["nll"].value()

    @jax.jit
    def weights(keys):
        found = module.apply({"params": params}, _images(), None, keys, samples, method="infer")
        logs = likelihood.log_probability(found.parameters, jnp.asarray(_images()))
        return jnp.exp(logs + found.log_prior - found.log_posterior)

    of_images = weights(jax.random.split(KEY, BATCH))
    relative = np.std(of_images, axis=0) / np.mean(of_images, axis=0) / samples**0.5
    error = math.sqrt(2 * np.sum(relative**2)) / BATCH
    assert abs(ours - theirs) < 4 * error < 0.1


def _quantizer(embeddings, counts, sums, factor=0.25):
    """pythae's codebook with these averages, of its own class."""
    from pythae.models.vq_vae.vq_vae_utils import QuantizerEMA

    config = models.VQVAEConfig(
        num_embeddings=len(embeddings), commitment_loss_factor=factor, use_ema=True, decay=0.9
    )
    config.embedding_dim = embeddings.shape[1]
    made = QuantizerEMA(config)
    made.embeddings, made.cluster_size, made.ema_embed = map(
        torch.tensor, (embeddings, counts, sums)
    )
    return made.train()


def test_one_update_of_a_codebook():
    generator = np.random.default_rng(1)
    codes, size, count = 6, 3, 40
    embeddings, vectors = (
        generator.normal(size=(rows, size)).astype(np.float32) for rows in (codes, count)
    )
    counts = generator.uniform(0.5, 2, codes).astype(np.float32)
    counts *= codes / counts.sum()
    sums = embeddings * counts[:, None]
    codebook = {"embeddings": embeddings, "counts": counts, "sums": sums}
    (nearest, chosen), changed = Quantizer(codes, size, decay=0.9).apply(
        {"codebook": codebook}, vectors, mutable=["codebook"], rngs={"restart": KEY}
    )
    # Theirs counts vectors, ours shares of them: an even share is one.
    each = count / codes
    model = _quantizer(embeddings, counts * np.float32(each), sums * np.float32(each))
    with torch.no_grad():
        found = model(torch.tensor(vectors)[None, None])
    np.testing.assert_array_equal(chosen, found.quantized_indices.ravel())
    np.testing.assert_allclose(
        nearest, found.quantized_vector[0, :, 0].T.numpy(), rtol=1e-5, atol=1e-6
    )
    after = changed["codebook"]
    np.testing.assert_allclose(after["sums"] * each, model.ema_embed, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after["counts"] * each, model.cluster_size, rtol=1e-4)
    np.testing.assert_allclose(after["embeddings"], model.embeddings, rtol=1e-3, atol=1e-5)


def test_commitment():
    """Theirs is a mean over all numbers, ours a sum per image."""
    module = small_vae("vqvae").model
    variables = variables_of(module)
    images = np.random.default_rng(2).normal(size=(5, 8, 8, 1)).astype(np.float32)

    @jax.jit
    def both(variables):
        vectors = module.apply(
            variables, images, method=lambda model, images: model.before(model.encoder(images))
        )
        return vectors, module.apply(variables, images, None, None, method="infer").commitment

    vectors, commitment = both(variables)
    codebook = variables["codebook"]["quantizer"]
    model = _quantizer(codebook["embeddings"], codebook["counts"], codebook["sums"]).eval()
    with torch.no_grad():
        found = model(torch.tensor(np.asarray(vectors))).loss.item()
    assert commitment.shape == (5,)
    assert 0.25 * np.sum(commitment) / vectors.size == pytest.approx(found, rel=1e-4)
