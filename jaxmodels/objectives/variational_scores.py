"""The scores of a variational autoencoder, from terms per image and their sums."""

import math
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxmodels.ops.latents import Inference
from jaxmodels.protocol import Mean, Score

Terms = dict[str, Float[Array, " batch"]]  # in nats

SCORES = MappingProxyType(
    {
        "loss": Score("lower", "nats", "what a step minimises per image, its terms weighted"),
        "elbo": Score("higher", "nats", "lower bound of log p(x) per image, its terms unweighted"),
        "reconstruction": Score("lower", "nats", "-log p(x|z) per image, z drawn from q(z|x)"),
        "kl": Score("neither", "nats", "KL(q(z|x) || p(z)) per image, the ELBO's other part"),
        "bits_per_dim": Score("lower", "bits", "-ELBO per number that an image has"),
        "active_units": Score(
            "neither", "latents", "latents whose posterior mean varies by over 0.01 over the images"
        ),
        "perplexity": Score(
            "higher", "codes", "codes in use: exp of the entropy of their shares of the choices"
        ),
        "nll": Score("lower", "nats", "-log p(x) per image, estimated by importance sampling"),
    }
)


class VariationalSums(NamedTuple):
    """The sums of an evaluation over examples."""

    elbo: Mean  # nats
    reconstruction: Mean
    kl: Mean
    # Sums of the posterior means and of their squares, per latent; empty where latents are codes.
    first: Float[Array, " latents"]
    second: Float[Array, " latents"]
    codes: Int[Array, " codes"]  # how often each was chosen; empty without a codebook


def elbo_terms(inference: Inference, log_likelihood: Float[Array, "samples batch"]) -> Terms:
    """Returns each image's unweighted ELBO and its two parts; the KL is analytic where possible."""
    reconstruction = -jnp.mean(log_likelihood, axis=0)
    kl = jnp.sum(inference.kl, axis=-1)
    return {"elbo": -reconstruction - kl, "reconstruction": reconstruction, "kl": kl}


@np.errstate(under="ignore")
def evaluation_scores(sums: VariationalSums, shape: tuple[int, int, int]) -> dict[str, float]:
    """Returns the scores of images of this shape; `SCORES` says what they mean."""
    scores = {name: getattr(sums, name).value() for name in ("elbo", "reconstruction", "kl")}
    scores["bits_per_dim"] = -scores["elbo"] / (math.prod(shape) * math.log(2))
    if sums.codes.size:
        scores["perplexity"] = _perplexity(np.asarray(sums.codes, float))
    else:
        scores["active_units"] = _active_units(sums)
    return scores


def _perplexity(counts: Float[np.ndarray, " codes"]) -> float:
    shares = counts / counts.sum()
    used = shares[shares > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def _active_units(sums: VariationalSums) -> float:
    """Counts the latents whose posterior mean has a variance above 0.01 over the images (Burda et
    al. 2016, section 5.2)."""
    count = float(sums.elbo.count)
    first, second = np.asarray(sums.first, float), np.asarray(sums.second, float)
    return float((second / count - (first / count) ** 2 > 0.01).sum())
