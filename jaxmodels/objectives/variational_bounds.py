"""The terms that a variational autoencoder minimises, in nats per image.

With z ~ q(z|x) the log-weight of a sample is log w = log p(x|z) + log p(z) - log q(z|x).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmodels import across
from jaxmodels.objectives.generation import draw_latents
from jaxmodels.ops.latents import Gaussian
from jaxmodels.ops.likelihoods import gaussian_log_likelihood

# Widths of the multiquadratic kernels (Tolstikhin et al. 2018, appendix B, their code's scales).
_KERNEL_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def regularized_kl(
    kl: Float[Array, "batch groups"], free_bits: Float[Array, ""] | float = 0.0
) -> Float[Array, " batch"]:
    """Sums the KL over groups of latents. A group whose mean over the batch is below `free_bits`
    (nats) counts as `free_bits` and has no gradient (Kingma et al. 2016, eq. 15)."""
    mean = across.average(jnp.mean(kl, axis=0))
    return jnp.sum(jnp.where(mean < free_bits, free_bits, kl), axis=-1)


def importance_weighted_bound(
    log_weights: Float[Array, "samples batch"],
) -> Float[Array, " batch"]:
    """Returns the log of the mean weight, a lower bound of log p(x) that rises with the number of
    samples; with one sample it is the ELBO (Burda et al. 2016, eq. 8)."""
    return jax.nn.logsumexp(log_weights, axis=0) - math.log(len(log_weights))


def log_prior_over_posterior(
    latents: Float[Array, "samples batch size"], posterior: Gaussian
) -> Float[Array, "samples batch"]:
    """Returns log p(z) - log q(z|x) for a standard normal prior."""
    log_prior = jnp.sum(gaussian_log_likelihood(0.0, 0.0, latents), axis=-1)
    return log_prior - jnp.sum(gaussian_log_likelihood(*posterior, latents), axis=-1)


def total_correlation_terms(
    latents: Float[Array, "batch size"],
    mean: Float[Array, "batch size"],
    log_scale: Float[Array, "batch size"],
    dataset_size: int,
    stratified: bool = False,
) -> tuple[Float[Array, " batch"], Float[Array, " batch"], Float[Array, " batch"]]:
    """Returns mutual information, total correlation and dimension-wise KL, whose sum is the KL at
    the sample (Chen et al. 2018, eq. 2).

    The aggregate q(z) is estimated from the batch: by minibatch-weighted sampling (section 4.1
    there), or by minibatch-stratified sampling if `stratified` (appendix C.2).
    """
    means, log_scales = across.gather((mean, log_scale))
    batch = len(means)
    log_pairs = gaussian_log_likelihood(means[None], log_scales[None], latents[:, None])
    if stratified:
        rows = across.first_position(len(latents)) + jnp.arange(len(latents))
        log_weights = _stratified_log_weights(batch, dataset_size)[rows]
    else:
        log_weights = jnp.full((len(latents), batch), -math.log(batch * dataset_size))
    log_joint = jax.nn.logsumexp(log_weights + jnp.sum(log_pairs, axis=-1), axis=1)
    log_marginals = jnp.sum(jax.nn.logsumexp(log_weights[..., None] + log_pairs, axis=1), axis=-1)
    log_posterior = jnp.sum(gaussian_log_likelihood(mean, log_scale, latents), axis=-1)
    log_prior = jnp.sum(gaussian_log_likelihood(0.0, 0.0, latents), axis=-1)
    return log_posterior - log_joint, log_joint - log_marginals, log_marginals - log_prior


def _stratified_log_weights(batch: int, size: int) -> Float[Array, "batch batch"]:
    """Returns the log-weights of the examples j in the estimate at z_i.

    With M = batch - 1 others and N = size: the example itself has 1/N, one other stands for all
    that are not in the batch and has (N - M) / (N M), and the rest have 1/M each.
    """
    others = batch - 1
    rows = jnp.arange(batch)
    weights = jnp.full((batch, batch), 1 / others)
    weights = weights.at[rows, rows].set(1 / size)
    return jnp.log(weights.at[rows, (rows + 1) % batch].set((size - others) / (size * others)))


def maximum_mean_discrepancy(
    latents: Float[Array, "batch size"], of_prior: Float[Array, "batch size"]
) -> Float[Array, ""]:
    """Estimates the squared MMD of two batches without bias, by a sum of inverse multiquadratic
    kernels C / (C + |a - b|^2) with C = 2 size scale (Tolstikhin et al. 2018, algorithm 2)."""
    latents, of_prior = across.gather((latents, of_prior))
    count, size = latents.shape

    def kernel(a, b):
        squares = jnp.sum(jnp.square(a), 1)[:, None] + jnp.sum(jnp.square(b), 1)[None]
        distance = jnp.maximum(squares - 2 * jnp.matmul(a, b.T, precision="highest"), 0)
        return sum(1 / (1 + distance / (2 * size * scale)) for scale in _KERNEL_SCALES)

    def within(a):
        # The unbiased estimate leaves out the kernels of a point with itself, which are one.
        return (jnp.sum(kernel(a, a)) - count * len(_KERNEL_SCALES)) / (count * (count - 1))

    return within(latents) + within(of_prior) - 2 * jnp.mean(kernel(latents, of_prior))


def distance_to_prior(latents: Float[Array, "batch size"], key: Key[Array, ""]) -> Float[Array, ""]:
    """Returns the discrepancy between latents and as many draws of the standard normal prior."""
    count, size = latents.shape
    return maximum_mean_discrepancy(latents, draw_latents(key, count, size))
