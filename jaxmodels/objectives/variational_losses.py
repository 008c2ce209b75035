"""The loss of each image of a variational autoencoder, one function per bound.

A term of the whole batch is added to each of its images.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmodels.objectives.variational_bounds import (
    distance_to_prior,
    importance_weighted_bound,
    regularized_kl,
    total_correlation_terms,
)
from jaxmodels.objectives.variational_config import VariationalConfig
from jaxmodels.ops.latents import Inference

PerImage = Float[Array, " batch"]
PerSample = Float[Array, "samples batch"]
# The hyperparameters of the state, and the weight of the KL at this step as "kl".
Weights = Mapping[str, Float[Array, ""]]


def minimised(
    config: VariationalConfig,
    dataset_size: int,
    inference: Inference,
    log_likelihood: PerSample,
    weights: Weights,
    key: Key[Array, ""],
) -> PerImage:
    """Returns the loss of each image under the config's bound.

    dataset_size: the number of training examples (beta_tc).
    key: draws from the prior (infovae, wae).
    """
    if config.objective in ("iwae", "dreg"):
        return iwae_loss(inference, log_likelihood, weights)
    reconstruction = -jnp.mean(log_likelihood, axis=0)
    if config.objective == "beta_tc":
        return beta_tc_loss(inference, reconstruction, weights, dataset_size, config.stratified)
    if config.objective == "infovae":
        return infovae_loss(inference, reconstruction, weights, key)
    if config.objective == "wae":
        return wae_loss(inference, reconstruction, weights, key)
    return elbo_loss(inference, reconstruction, weights, bool(config.free_bits))


def elbo_loss(
    inference: Inference, reconstruction: PerImage, weights: Weights, free_bits: bool
) -> PerImage:
    """Returns the negative ELBO, with weighted KL (beta-VAE, Higgins et al. 2017) and free bits."""
    least = weights["free_bits"] if free_bits else 0.0
    return reconstruction + weights["kl"] * regularized_kl(inference.kl, least)


def iwae_loss(inference: Inference, log_likelihood: PerSample, weights: Weights) -> PerImage:
    """Returns minus the importance-weighted bound (Burda et al. 2016)."""
    log_ratio = inference.log_prior - inference.log_posterior
    return -importance_weighted_bound(log_likelihood + weights["kl"] * log_ratio)


def beta_tc_loss(
    inference: Inference,
    reconstruction: PerImage,
    weights: Weights,
    dataset_size: int,
    stratified: bool,
) -> PerImage:
    """Returns the negative ELBO with a KL of three terms, of which only the total correlation is
    weighted (Chen et al. 2018, eq. 4)."""
    assert inference.posterior is not None  # `require_allowed` refuses other models
    information, correlation, dimensions = total_correlation_terms(
        inference.latents[0], *inference.posterior, dataset_size, stratified
    )
    return reconstruction + information + weights["kl"] * correlation + dimensions


def infovae_loss(
    inference: Inference, reconstruction: PerImage, weights: Weights, key: Key[Array, ""]
) -> PerImage:
    """Returns the negative ELBO without a share `alpha` of the mutual information, and with the
    distance of the aggregate posterior to the prior (Zhao et al. 2019, eq. 6)."""
    distance = distance_to_prior(inference.latents[0], key)
    kept = 1 - weights["alpha"]
    kl = weights["kl"] * jnp.sum(inference.kl, axis=-1)
    return reconstruction + kept * kl + (weights["mmd"] - kept) * distance


def wae_loss(
    inference: Inference, reconstruction: PerImage, weights: Weights, key: Key[Array, ""]
) -> PerImage:
    """Returns the reconstruction and the distance of the aggregate posterior to the prior
    (Tolstikhin et al. 2018)."""
    return reconstruction + weights["mmd"] * distance_to_prior(inference.latents[0], key)
