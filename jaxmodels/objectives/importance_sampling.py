"""The negative log-likelihood of a latent-variable model, estimated by importance sampling."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from jaxmodels.errors import InputError
from jaxmodels.objectives.likelihoods import Likelihood
from jaxmodels.objectives.vae import labels_of, variables_of
from jaxmodels.ops.latents import call
from jaxmodels.protocol import Batch, Mean, PyTree, State, example_keys, mean_over


@dataclass(frozen=True)
class ImportanceSampling:
    """An estimate of -log p(x) from q(z|x): minus the log of the mean of `samples` weights for each
    image (Rezende et al. 2014, appendix E). Its mean over the noise is an upper bound of the truth.

    The weights are summed in a stream, so that memory does not depend on their number.

    rows: the most rows that the decoder takes at once, if one sample of each image has no more.

    Raises:
      InputError: fewer than one sample.
    """

    model: nn.Module
    likelihood: Likelihood
    samples: int
    classes: int = 0
    rows: int = 5000

    def __post_init__(self):
        if self.samples < 1:
            raise InputError(
                f"samples = {self.samples}; expected at least 1 importance sample per image"
            )

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Mean]:
        """Sums the estimates of the examples that `batch["valid"]` marks, as "nll"."""
        return {"nll": mean_over(self.nll(state, batch, key), batch["valid"])}

    def nll(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """Returns the estimate for each image, in nats."""
        variables, keys = variables_of(state), example_keys(key, batch["position"])
        count = len(batch["image"])
        chunk = max(1, min(self.samples, self.rows // count))

        def add(log_total, index):
            numbers = index * chunk + jnp.arange(chunk)
            log_weights = jax.vmap(lambda n: self.log_weights(variables, batch, keys, n))(numbers)
            # The last chunk may have numbers beyond the last sample.
            log_weights = jnp.where(numbers[:, None] < self.samples, log_weights, -jnp.inf)
            return jnp.logaddexp(log_total, jax.nn.logsumexp(log_weights, axis=0)), None

        nothing = jnp.full(count, -jnp.inf)
        log_total, _ = jax.lax.scan(add, nothing, jnp.arange(-(-self.samples // chunk)))
        return math.log(self.samples) - log_total

    def log_weights(
        self,
        variables: PyTree,
        batch: Batch,
        keys: Key[Array, " batch"],
        number: Int[Array, ""],
    ) -> Float[Array, " batch"]:
        """Returns log p(x|z) + log p(z) - log q(z|x) of each image at its sample of this number.

        The number keys the noise, because chunks depend on the batch size.
        """
        keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
        labels = labels_of(batch, self.classes)
        inference = call(self.model, "infer", variables, batch["image"], labels, keys)
        log_likelihood = self.likelihood.log_probability(inference.parameters, batch["image"])
        return (log_likelihood + inference.log_prior - inference.log_posterior)[0]
