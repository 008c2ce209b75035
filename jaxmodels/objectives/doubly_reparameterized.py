"""The doubly reparameterised gradient of the importance-weighted bound (Tucker et al. 2019)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmodels.ops.latents import Inference
from jaxmodels.ops.rematerialize import rematerialized_whole
from jaxmodels.protocol import PyTree

Latents = Float[Array, "samples batch size"]
LogWeights = Float[Array, "samples batch"]


class DoublyReparameterized(NamedTuple):
    """The gradients of minus the bound, summed over images, and the values of their samples."""

    gradients: PyTree
    log_weights: LogWeights
    log_likelihood: LogWeights
    inference: Inference


def doubly_reparameterized(
    draw: Callable[[PyTree], tuple[Latents, Inference]],
    weigh: Callable[[Inference, PyTree, Latents], tuple[LogWeights, LogWeights]],
    params: PyTree,
    kl_weight: Float[Array, ""],
) -> DoublyReparameterized:
    """Differentiates minus the importance-weighted bound in `params`.

    The decoder's gradient is the usual one. The encoder's goes through the samples alone, with
    squared normalised weights: it has the same mean and less noise (eq. 8). If the KL has a weight
    w, the same derivation gives (1 - w) share + w share^2 in place of share^2.

    draw: parameters -> samples of the posterior, and the whole inference.
    weigh: (inference, parameters, samples) -> the log-weights of the samples, and log p(x|z). The
      posterior's density is that of `inference`, through which no gradient goes.
    """
    latents, pull_latents, inference = jax.vjp(rematerialized_whole(draw), params, has_aux=True)
    inference = jax.lax.stop_gradient(inference)
    log_weights, pull, log_likelihood = jax.vjp(
        rematerialized_whole(partial(weigh, inference)), params, latents, has_aux=True
    )
    shares = jax.nn.softmax(log_weights, axis=0)
    gradients, latent_gradients = pull(-shares)
    kept = 1 - kl_weight + kl_weight * shares
    (encoder_gradients,) = pull_latents(kept[..., None] * latent_gradients)
    gradients = jax.tree.map(jnp.add, gradients, encoder_gradients)
    return DoublyReparameterized(gradients, log_weights, log_likelihood, inference)
