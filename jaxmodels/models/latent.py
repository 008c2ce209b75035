"""What all latent-variable models share: the interface that variational objectives call.

A model has the methods

    infer(images, labels, keys, samples) -> Inference      q(z|x) and p(x|z) at its samples
    decode(latents, labels) -> parameters of p(x|z)        one row per row of latents
    prior(keys, labels) -> latents                         one draw of p(z) per key

with one key per image. keys = None: no noise, so that `infer` follows the means of q(z|x).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
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
    # KL per group of latents: given the groups above where it is known, else at the samples.
    kl: Float[Array, "batch groups"]
    posterior: Gaussian | None = None  # q(z|x), where it is that
    commitment: Float[Array, " batch"] | None = None  # squared distance of outputs to their codes
    codes: Int[Array, "batch positions"] | None = None


def normal_noise(
    keys: Key[Array, " batch"] | None, samples: int, batch: int, shape: tuple[int, ...]
) -> Float[Array, "samples batch *shape"]:
    """Standard normal numbers, each image's from its key; zeros without keys."""
    if keys is None:
        return jnp.zeros((samples, batch, *shape))
    noise = jax.vmap(lambda key: jax.random.normal(key, (samples, *shape)))(keys)
    return jnp.moveaxis(noise, 0, 1)


def one_hot_columns(
    x: Float[Array, "batch size"], labels: Int[Array, " batch"] | None, classes: int
) -> Float[Array, "batch columns"]:
    """x with the labels beside it, if the model knows classes."""
    if not classes:
        return x
    return jnp.concatenate([x, jax.nn.one_hot(labels, classes, dtype=x.dtype)], axis=-1)


def one_hot_planes(
    x: Float[Array, "batch height width channels"],
    labels: Int[Array, " batch"] | None,
    classes: int,
) -> Float[Array, "batch height width planes"]:
    """x with a plane per class behind its channels, if the model knows classes."""
    if not classes:
        return x
    planes = jax.nn.one_hot(labels, classes, dtype=x.dtype)[:, None, None]
    return jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:3], classes))], axis=-1)
