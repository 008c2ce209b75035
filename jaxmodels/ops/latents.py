"""The interface between a latent-variable model and the objectives that train it.

A model is a module with the methods

    infer(images, labels, keys, samples) -> Inference      q(z|x) and p(x|z) at its samples
    decode(latents, labels) -> parameters of p(x|z)        one row per row of latents
    prior(keys, labels) -> latents                         one draw of p(z) per key

with one key per image. With keys = None there is no noise: `infer` follows the means of q(z|x).
Objectives know these methods and the types below, and import no model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from jaxmodels.protocol import PyTree


class Gaussian(NamedTuple):
    """A normal distribution with independent dimensions."""

    mean: Float[Array, "*batch size"]
    log_scale: Float[Array, "*batch size"]


class Inference(NamedTuple):
    """A model at some samples of its posterior, in nats."""

    parameters: Float[Array, "samples batch height width parameters"]  # of p(x|z)
    latents: PyTree  # leaves [samples, batch, ...]
    log_prior: Float[Array, "samples batch"]  # log p(z)
    log_posterior: Float[Array, "samples batch"]  # log q(z|x)
    # The KL of each group of latents: in closed form given the groups above it where that is
    # known, otherwise estimated at the samples.
    kl: Float[Array, "batch groups"]
    posterior: Gaussian | None = None  # q(z|x), where it is one normal distribution
    commitment: Float[Array, " batch"] | None = None  # squared distance of outputs to their codes
    codes: Int[Array, "batch positions"] | None = None  # chosen codes, where latents are codes


def call(model: nn.Module, method: str, variables: PyTree, *arguments: Any, **options: Any) -> Any:
    """Calls a method of a model. Flax's `apply` does not know the type of what it returns."""
    return model.apply(variables, *arguments, method=method, **options)


def normal_noise(
    keys: Key[Array, " batch"] | None, samples: int, batch: Any, shape: tuple[int, ...]
) -> Float[Array, "samples batch *shape"]:
    """Draws standard normal numbers, each image's from its key; without keys they are zeros.

    batch: a whole number, or in a program for any number of images a symbol.
    """
    if keys is None:
        return jnp.zeros((samples, batch, *shape))
    noise = jax.vmap(lambda key: jax.random.normal(key, (samples, *shape)))(keys)
    return jnp.moveaxis(noise, 0, 1)


def decode_samples(
    decode: Callable,
    latents: Float[Array, "samples batch size"],
    labels: Int[Array, " batch"] | None,
) -> Float[Array, "samples batch height width parameters"]:
    """Decodes each sample of each image, with the image's label."""
    samples, batch, size = latents.shape
    if labels is not None:
        labels = jnp.tile(labels, samples)
    parameters = decode(latents.reshape(samples * batch, size), labels)
    return parameters.reshape(samples, batch, *parameters.shape[1:])
