"""Labels as inputs of encoders and decoders: what all latent-variable models share.

<<<<<<< HEAD
`jaxmodels.ops.latents` describes the methods that objectives call.
=======
A model has the methods

    infer(images, labels, keys, samples) -> Inference      q(z|x) and p(x|z) at its samples
    decode(latents, labels) -> parameters of p(x|z)        one row per row of latents
    prior(keys, labels) -> latents                         one draw of p(z) per key

with one key per image. With keys = None there is no noise: `infer` follows the means of q(z|x).
>>>>>>> models
"""

import jax
import jax.numpy as jnp
<<<<<<< HEAD
from jaxtyping import Array, Float, Int
=======
from jaxtyping import Array, Float, Int, Key

from jaxmodels.protocol import PyTree

Labels = Int[Array, " batch"] | None  # None: the model is told no classes


class Gaussian(NamedTuple):
    """A normal distribution with independent dimensions."""

    mean: Float[Array, "*batch size"]
    log_scale: Float[Array, "*batch size"]


class Inference(NamedTuple):
    """A model at some samples of its posterior, in nats.

    parameters: the numbers of p(x|z).
    latents: arrays [samples, batch, ...].
    log_prior, log_posterior: log p(z) and log q(z|x).
    kl: the KL of each group of latents; it is exact, given the groups above, where that is known,
      and otherwise its estimate at the samples.
    posterior: q(z|x), if it is a normal distribution.
    commitment: the squared distance of the encoder's outputs to their codes, if there are codes.
    codes: the code at each position, if there are codes.
    """

    parameters: Float[Array, "samples batch height width parameters"]
    latents: PyTree
    log_prior: Float[Array, "samples batch"]
    log_posterior: Float[Array, "samples batch"]
    kl: Float[Array, "batch groups"]
    posterior: Gaussian | None = None
    commitment: Float[Array, " batch"] | None = None
    codes: Int[Array, "batch positions"] | None = None


def normal_noise(
    keys: Key[Array, " batch"] | None, samples: int, batch: int, shape: tuple[int, ...]
) -> Float[Array, "samples batch *shape"]:
    """Draws standard normal numbers, each image's from its key; without keys they are zeros."""
    if keys is None:
        return jnp.zeros((samples, batch, *shape))
    noise = jax.vmap(lambda key: jax.random.normal(key, (samples, *shape)))(keys)
    return jnp.moveaxis(noise, 0, 1)
>>>>>>> models


def one_hot_columns(
    x: Float[Array, "batch size"], labels: Labels, classes: int
) -> Float[Array, "batch columns"]:
<<<<<<< HEAD
    """Puts the labels beside x, if the model knows classes."""
=======
    """Appends the labels as columns, if the model knows classes."""
>>>>>>> models
    if not classes:
        return x
    return jnp.concatenate([x, jax.nn.one_hot(labels, classes, dtype=x.dtype)], axis=-1)


def one_hot_planes(
    x: Float[Array, "batch height width channels"], labels: Labels, classes: int
) -> Float[Array, "batch height width planes"]:
<<<<<<< HEAD
    """Puts a plane per class behind the channels of x, if the model knows classes."""
=======
    """Appends a plane per class behind the channels, if the model knows classes."""
>>>>>>> models
    if not classes:
        return x
    planes = jax.nn.one_hot(labels, classes, dtype=x.dtype)[:, None, None]
    return jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:3], classes))], axis=-1)
