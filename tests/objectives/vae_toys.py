"""A linear model whose bounds are known in closed form, and small models, for tests of VAEs."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxmodels.data import Resident
from jaxmodels.models.vaes import create_vae
from jaxmodels.objectives.likelihoods import make_likelihood
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.vae import VariationalAutoencoder
from jaxmodels.objectives.variational_config import VariationalConfig
from jaxmodels.ops.latents import Gaussian, Inference, normal_noise
from jaxmodels.ops.likelihoods import gaussian_kl, gaussian_log_likelihood

LATENTS, PIXELS, SPREAD = 2, 4, 0.7


class LinearGaussian(nn.Module):
    """p(z) = N(0, 1), p(x|z) = N(z W + b, SPREAD^2), q(z|x) = N(x V + c, exp(log_scale)^2).

    points: instead of noise, 2 LATENTS points of mean zero and covariance one, over which the mean
    of any quadratic is its expectation.
    """

    points: bool = False

    def setup(self):
        normal = nn.initializers.normal(0.5)
        self.decoder_weights = self.param("decoder_weights", normal, (LATENTS, PIXELS))
        self.decoder_bias = self.param("decoder_bias", normal, (PIXELS,))
        self.encoder_weights = self.param("encoder_weights", normal, (PIXELS, LATENTS))
        self.encoder_bias = self.param("encoder_bias", normal, (LATENTS,))
        self.encoder_log_scale = self.param("encoder_log_scale", normal, (LATENTS,))

    def decode(self, latents, labels=None):
        mean = latents @ self.decoder_weights + self.decoder_bias
        return mean.reshape(-1, 2, 2, 1)

    def prior(self, keys, labels=None):
        return normal_noise(keys, 1, len(keys), (LATENTS,))[0]

    def infer(self, images, labels, keys, samples=1):
        batch = len(images)
        mean = images.reshape(batch, -1) @ self.encoder_weights + self.encoder_bias
        log_scale = jnp.broadcast_to(self.encoder_log_scale, mean.shape)
        noise = normal_noise(keys, samples, batch, (LATENTS,))
        if self.points and samples == 2 * LATENTS:
            points = np.sqrt(LATENTS) * np.concatenate([np.eye(LATENTS), -np.eye(LATENTS)])
            noise = jnp.broadcast_to(points[:, None], noise.shape)
        latents = mean + jnp.exp(log_scale) * noise
        parameters = self.decode(latents.reshape(-1, LATENTS))
        return Inference(
            parameters=parameters.reshape(samples, batch, 2, 2, 1),
            latents=latents,
            log_prior=gaussian_log_likelihood(0.0, 0.0, latents).sum(-1),
            log_posterior=gaussian_log_likelihood(mean, log_scale, latents).sum(-1),
            kl=gaussian_kl(mean, log_scale),
            posterior=Gaussian(mean, log_scale),
        )


class FixedGaussian:
    """p(x|z) of the linear model: a density, of pixels that have no levels."""

    name, size, dequantized = "gaussian", 1, False

    def log_probability(self, mean, x):
        return gaussian_log_likelihood(mean, jnp.log(SPREAD), x).sum((-3, -2, -1))

    def mean(self, mean):
        return mean

    def sample(self, key, mean):
        return mean + SPREAD * jax.random.normal(key, mean.shape)


FIXED_GAUSSIAN = FixedGaussian()


@jax.jit
def posterior_of(params):
    """Covariance of p(z|x), and the matrix and the vector that its mean is affine with."""
    weights = params["decoder_weights"]
    precision = jnp.eye(LATENTS) + weights @ weights.T / SPREAD**2
    covariance = jnp.linalg.inv(precision)
    matrix = weights.T @ covariance / SPREAD**2
    return covariance, matrix, -params["decoder_bias"] @ matrix


@jax.jit
def log_marginal(params, images):
    """log p(x) per image."""
    weights = params["decoder_weights"]
    covariance = weights.T @ weights + SPREAD**2 * jnp.eye(PIXELS)
    x = images.reshape(len(images), -1) - params["decoder_bias"]
    distance = jnp.sum(x @ jnp.linalg.inv(covariance) * x, axis=-1)
    return -0.5 * (distance + jnp.linalg.slogdet(2 * jnp.pi * covariance)[1])


@jax.jit
def kl_to_posterior(params, images):
    """KL(q(z|x) || p(z|x)) per image."""
    covariance, matrix, vector = posterior_of(params)
    x, log_scale = images.reshape(len(images), -1), params["encoder_log_scale"]
    inverse = jnp.linalg.inv(covariance)
    shift = x @ (matrix - params["encoder_weights"]) + vector - params["encoder_bias"]
    trace = jnp.trace(inverse * jnp.exp(2 * log_scale))
    logs = jnp.linalg.slogdet(covariance)[1] - 2 * jnp.sum(log_scale)
    return 0.5 * (trace + jnp.sum(shift @ inverse * shift, axis=-1) - LATENTS + logs)


def linear_params(exact=False, seed=0):
    """Parameters of the linear model; exact: q(z|x) is p(z|x)."""
    generator = np.random.default_rng(seed)
    # Orthogonal rows: the posterior's covariance is diagonal.
    params = {
        "decoder_weights": np.array([[0.8, 0.8, -0.8, 0.8], [0.3, -0.3, 0.3, 0.3]]),
        "decoder_bias": np.array([0.2, -0.1, 0.4, 0.0]),
        "encoder_weights": 0.3 * generator.normal(size=(PIXELS, LATENTS)),
        "encoder_bias": np.array([0.3, -0.2]),
        "encoder_log_scale": np.array([-0.2, 0.3]),
    }
    if exact:
        covariance, matrix, vector = map(np.asarray, posterior_of(params))
        params["encoder_weights"], params["encoder_bias"] = matrix, vector
        params["encoder_log_scale"] = np.log(np.diag(covariance)) / 2
    return params


def grey_images(count=48, shape=(8, 8, 1), seed=0):
    """Images in 0..1 of 17 levels, and labels that say how bright they are."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count).astype(np.int32)
    ramp = np.linspace(0, 1, shape[0])[:, None, None]
    grey = 0.25 * labels[:, None, None, None] + 0.5 * generator.random((count, *shape)) * ramp
    return {"image": np.round(grey * 16).astype(np.float32) / 16, "label": labels}


# Tiny widths.
OPTIONS = {
    "mlp": {"hidden": (8,), "latent_size": 3},
    "conv": {"width": 4, "features": 8, "latent_size": 3},
    "ladder": {"width": 8, "depth": (1, 1), "latent_size": 2},
    "vqvae": {"codes": 6, "code_size": 4, "width": 4},
}


def configs_of(flags):
    """The bound's config and the optimizer's, with these flags among them."""
    names = {field.name for field in fields(VariationalConfig)}
    of_bound = {name: value for name, value in flags.items() if name in names}
    others = {name: value for name, value in flags.items() if name not in names}
    return VariationalConfig(**of_bound), OptimizerConfig(**others)


def small_vae(
    model="mlp",
    likelihood="bernoulli",
    classes=0,
    accumulate=1,
    draw="mean",
    options=None,
    **flags,
):
    """The objective of a small model of 8x8x1 images."""
    config, optimizer = configs_of({"schedule": "constant", **flags})
    config.validate()
    optimizer.validate()
    of_pixels = make_likelihood(likelihood, 1, 17, mixtures=2)
    options = OPTIONS[model] | (options or {})
    return VariationalAutoencoder(
        create_vae(model, (8, 8, 1), of_pixels.size, classes, **options),
        of_pixels,
        config,
        optimizer,
        steps=20,
        shape=(8, 8, 1),
        dataset_size=48,
        classes=classes,
        accumulate=accumulate,
        draw=draw,
    )


def _random(tree, seed=0):
    """Numbers as they might be after some training: compiling the initialisers takes longer than
    all else."""
    generator = np.random.default_rng(seed)

    def fill(path, leaf):
        if path[-1].key == "counts":
            return np.ones(leaf.shape, leaf.dtype)
        inputs = max(1, np.prod(leaf.shape[:-1]))
        return (generator.normal(size=leaf.shape) / inputs**0.5).astype(leaf.dtype)

    tree = jax.tree_util.tree_map_with_path(fill, tree)
    if "codebook" in tree:
        codebook = tree["codebook"]["quantizer"]
        codebook["sums"] = codebook["embeddings"] + 0
    return tree


def variables_of(module, shape=(8, 8, 1), classes=0, seed=0):
    """Random variables of a model of such images."""
    images, labels = jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32) if classes else None

    def create(key):
        return module.init(key, images, labels, jax.random.split(key, 1), method="infer")

    return _random(jax.eval_shape(create, jax.random.key(0)), seed)


def start(objective, batch):
    """A state for batches like this, with random numbers."""
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    numbers = objective.hyperparameters
    state = jax.eval_shape(lambda key: objective.init(key, spec, numbers), jax.random.key(0))
    learned = _random({"params": state["params"], **state["collections"]})
    params = learned.pop("params")
    rest = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    state = {**rest, "params": params, "collections": learned}
    average = {name: jax.tree.map(np.copy, state[name]) for name in state["ema"]}
    numbers = {name: np.float32(value) for name, value in numbers.items()}
    return {**state, "ema": average, "hyperparameters": numbers}


def source(count=48):
    """The images as a source of batches."""
    return Resident(grey_images(count))
