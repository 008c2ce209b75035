"""Variational autoencoders: any latent-variable model with any bound that it allows."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.objectives.descent import descend, initial_state, learned_of
from jaxmodels.objectives.generation import draw_latents, in_chunks
from jaxmodels.objectives.gradients import accumulate_gradients
from jaxmodels.objectives.likelihoods import Likelihood
from jaxmodels.objectives.variational_bounds import (
    importance_weighted_bound,
    maximum_mean_discrepancy,
    regularized_kl,
    total_correlation_terms,
)
from jaxmodels.objectives.variational_config import VariationalConfig
from jaxmodels.ops.latents import Inference
from jaxmodels.ops.likelihoods import gaussian_log_likelihood
from jaxmodels.protocol import Mean, Objective, PyTree, example_keys, mean_over

# Rows that the decoder takes at once when images have many samples.
_ROWS = 5000


class VariationalSums(NamedTuple):
    """What `evaluate` sums over examples."""

    elbo: Mean  # nats
    reconstruction: Mean
    kl: Mean
    # Of the posterior means, per latent; empty where latents are codes.
    first: Float[Array, " latents"]
    second: Float[Array, " latents"]
    codes: Int[Array, " codes"]  # how often each was chosen; empty without a codebook


def vae(
    model: nn.Module,
    likelihood: Likelihood,
    config: VariationalConfig,
    *,
    steps: int,
    shape: tuple[int, int, int],
    dataset_size: int,
    classes: int = 0,
    accumulate: int = 1,
    draw: str = "mean",
) -> Objective:
    """The objective of batches {"image": Float[batch height width channels] in 0..1} and, for
    classes > 0, "label": Int[batch].

    model: see `jaxmodels.ops.latents`. The numbers in `config` enter the state as
    hyperparameters; here they only say which terms exist. dataset_size: training examples, which
    beta_tc needs.

    predict: "reconstruction" (the mean of p(x|z) at the posterior's mean) and "latents" (these
    means). sample(state, key, n): uint8 images (and, with classes, labels in turn), the mean of
    p(x|z), or with draw="sample" one draw of it. Instead of n: {"latents": ..., "labels": ...}.

    Raises (from init):
      InputError: a bound that the model does not allow.
    """
    bound = config.objective

    def _infer(variables, batch, keys, samples=1, **options):
        labels = batch.get("label") if classes else None
        return model.apply(
            variables, batch["image"], labels, keys, samples, method="infer", **options
        )

    def init(key, spec, hyperparameters):
        image = jnp.zeros((1, *spec["image"].shape[1:]))
        labels = jnp.zeros(1, jnp.int32) if classes else None

        def create(key):
            return model.init_with_output(
                key, image, labels, jax.random.split(key, 1), method="infer"
            )

        _check(config, type(model).__name__, jax.eval_shape(create, key)[0])
        variables = dict(create(key)[1])
        learned = {"params": variables.pop("params"), "collections": variables}
        return initial_state(config, learned, hyperparameters, bool(config.ema))

    def _kl_weight(state):
        weight = state["hyperparameters"]["beta"]
        if config.kl_warmup:
            weight *= jnp.minimum(1.0, (state["step"] + 1) / config.kl_warmup)
        return weight

    def _losses(found: Inference, log_likelihood, numbers, weight, key):
        """What is minimised, per image."""
        reconstruction = -jnp.mean(log_likelihood, axis=0)
        if bound == "elbo":
            free = numbers["free_bits"] if config.free_bits else 0.0
            return reconstruction + weight * regularized_kl(found.kl, free)
        if bound == "iwae":
            log_weights = log_likelihood + weight * (found.log_prior - found.log_posterior)
            return -importance_weighted_bound(log_weights)
        latents = found.latents[0]
        if bound == "beta_tc":
            terms = total_correlation_terms(
                latents, *found.posterior, dataset_size, config.stratified
            )
            return reconstruction + terms[0] + weight * terms[1] + terms[2]
        distance = maximum_mean_discrepancy(latents, draw_latents(key, *latents.shape))
        if bound == "wae":
            return reconstruction + numbers["mmd"] * distance
        kept = 1 - numbers["alpha"]
        kl = weight * jnp.sum(found.kl, axis=-1)
        return reconstruction + kept * kl + (numbers["mmd"] - kept) * distance

    def step(state, batch, key):
        numbers, weight = state["hyperparameters"], _kl_weight(state)

        def loss(params, carried, batch, key):
            noise, restart, prior = jax.random.split(key, 3)
            keys = example_keys(noise, across.positions(len(batch["image"])))
            found, changed = _infer(
                {"params": params, **carried},
                batch,
                keys,
                config.particles,
                mutable=list(carried),
                rngs={"restart": restart},
            )
            log_likelihood = likelihood.log_probability(found.parameters, batch["image"])
            losses = _losses(found, log_likelihood, numbers, weight, prior)
            if found.commitment is not None:
                losses = losses + numbers["commitment"] * found.commitment
            sums = {"loss": mean_over(losses), **_terms(log_likelihood, found)}
            return jnp.mean(losses), ({**carried, **changed}, sums)

        differentiate = jax.grad(loss, has_aux=True)
        if bound == "dreg":
            differentiate = _doubly_reparameterized(weight)
        gradients, carried, sums = accumulate_gradients(
            differentiate, state["params"], state["collections"], batch, key, accumulate
        )
        return descend(config, steps, state, gradients, collections=carried), sums

    def _doubly_reparameterized(weight):
        """Gradients of the importance-weighted bound: the decoder's are those of iwae; the
        encoder's go through the samples alone, with squared normalised weights, which has the same
        mean and less noise (Tucker et al. 2019, eq. 8; where the KL has a weight w, their step from
        the score to the path gives (1 - w) share + w share^2)."""

        def differentiate(params, carried, batch, key):
            labels = batch.get("label") if classes else None
            keys = example_keys(jax.random.split(key, 3)[0], across.positions(len(batch["image"])))

            def draw(params):
                found = _infer({"params": params, **carried}, batch, keys, config.particles)
                return found.latents, found

            latents, pull_latents, found = jax.vjp(draw, params, has_aux=True)
            found = jax.lax.stop_gradient(found)

            def log_weights(params, latents):
                rows = latents.reshape(-1, latents.shape[-1])
                each = None if labels is None else jnp.tile(labels, len(latents))
                made = model.apply({"params": params, **carried}, rows, each, method="decode")
                made = made.reshape(*latents.shape[:2], *made.shape[1:])
                log_likelihood = likelihood.log_probability(made, batch["image"])
                log_prior = jnp.sum(gaussian_log_likelihood(0.0, 0.0, latents), axis=-1)
                log_posterior = gaussian_log_likelihood(*found.posterior, latents)
                difference = log_prior - jnp.sum(log_posterior, axis=-1)
                return log_likelihood + weight * difference, log_likelihood

            weights, pull, log_likelihood = jax.vjp(log_weights, params, latents, has_aux=True)
            shares = jax.nn.softmax(weights, axis=0)
            gradients, to_latents = pull(-shares / shares.shape[1])
            kept = 1 - weight + weight * shares
            of_encoder = pull_latents(kept[..., None] * to_latents)[0]
            sums = {
                "loss": mean_over(-importance_weighted_bound(weights)),
                **_terms(log_likelihood, found),
            }
            return jax.tree.map(jnp.add, gradients, of_encoder), (carried, sums)

        return differentiate

    def evaluate(state, batch, key):
        variables, valid = _variables(state), batch["valid"]
        keys = example_keys(key, batch["position"])
        found = _infer(variables, batch, keys)
        log_likelihood = likelihood.log_probability(found.parameters, batch["image"])
        if found.codes is None:
            means = _flat(_infer(variables, batch, None).latents)
            means = jnp.where(valid[:, None], means, 0)
            chosen = jnp.zeros(0, jnp.int32)
        else:
            means = jnp.zeros((1, 0))
            each = jnp.where(valid[:, None], found.codes, model.codes)
            chosen = jnp.zeros(model.codes, jnp.int32).at[each].add(1, mode="drop")
        return VariationalSums(
            **_terms(log_likelihood, found, valid),
            first=jnp.sum(means, axis=0),
            second=jnp.sum(jnp.square(means), axis=0),
            codes=chosen,
        )

    def predict(state, batch, key):
        found = _infer(_variables(state), batch, None)
        return {
            "reconstruction": likelihood.mean(found.parameters[0]),
            "latents": jax.tree.map(lambda leaf: leaf[0], found.latents),
        }

    def sample(state, key, conditions):
        variables = _variables(state)
        if isinstance(conditions, int):
            keys = example_keys(key, jnp.arange(conditions))
            labels = jnp.arange(conditions) % classes if classes else None

            def images(columns):
                keys, labels = columns
                latents = model.apply(variables, keys, labels, method="prior")
                return _images(variables, latents, labels, keys)

            found = in_chunks(images, (keys, labels))
        else:
            latents, labels = conditions["latents"], conditions.get("labels")
            count = len(jax.tree.leaves(latents)[0])
            found = in_chunks(
                lambda columns: _images(variables, *columns),
                (latents, labels, example_keys(key, jnp.arange(count))),
            )
        return {"images": found, **({"labels": labels} if classes else {})}

    def _images(variables, latents, labels, keys):
        parameters = model.apply(variables, latents, labels, method="decode")
        if draw == "mean":
            images = likelihood.mean(parameters)
        else:
            # The latents had the key itself.
            keys = jax.vmap(lambda key: jax.random.fold_in(key, 2**31 - 1))(keys)
            images = jax.vmap(likelihood.sample)(keys, parameters)
        return jnp.round(255 * images).astype(jnp.uint8)

    return Objective(init, step, evaluate, summarize_for(shape), predict, sample)


def _check(config: VariationalConfig, kind: str, found: Inference) -> None:
    """Raises InputError for a bound that the model does not allow."""
    bound, refused = config.objective, None
    if found.codes is not None:
        if bound != "elbo" or config.free_bits or config.particles > 1:
            refused = "its posterior is one code with certainty, for which more samples, free bits"
            refused += " or distances to the prior mean nothing; it has --objective elbo"
    elif bound in ("dreg", "beta_tc") and found.posterior is None:
        refused = "needs the density of q(z|x) at any z, which is known where it is one normal"
        refused += " distribution: --model mlp or conv, --flows 0"
    elif bound in ("infovae", "wae") and not isinstance(found.latents, jax.ShapeDtypeStruct):
        refused = "needs a prior that is one fixed distribution, which that of a ladder is not:"
        refused += " --model mlp or conv"
    if refused:
        raise InputError(f"objective = {bound} with {kind}: {refused}")


def _variables(state) -> dict[str, PyTree]:
    """What to evaluate with."""
    learned = learned_of(state, "collections")
    return {"params": learned["params"], **learned["collections"]}


def _terms(log_likelihood, found: Inference, valid=None) -> dict[str, Mean]:
    """The ELBO without weights and its two parts, the KL analytic where it is known."""
    reconstruction = -jnp.mean(log_likelihood, axis=0)
    kl = jnp.sum(found.kl, axis=-1)
    parts = {"elbo": -reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
    return {name: mean_over(values, valid) for name, values in parts.items()}


def _flat(latents) -> Float[Array, "batch latents"]:
    """The first sample of all groups, side by side."""
    return jnp.concatenate([z[0].reshape(z.shape[1], -1) for z in jax.tree.leaves(latents)], -1)


def importance_sampled(
    model: nn.Module, likelihood: Likelihood, samples: int, classes: int = 0
):  # fmt: skip
    """evaluate(state, batch, key) -> {"nll": Mean}: -log p(x) estimated by importance sampling from
    q(z|x), log mean of `samples` weights per image (Rezende et al. 2014, appendix E).

    It is streamed over the samples: memory does not depend on their number. Its mean over the noise
    is an upper bound of the true negative log-likelihood.

    Raises:
      InputError: fewer than one sample.
    """
    if samples < 1:
        raise InputError(f"samples = {samples}; expected at least 1 importance sample per image")

    def evaluate(state, batch, key):
        variables = _variables(state)
        images, labels = batch["image"], batch.get("label") if classes else None
        keys = example_keys(key, batch["position"])
        chunk = max(1, min(samples, _ROWS // len(images)))
        chunks = -(-samples // chunk)

        def log_weight(number):
            # Keyed by its number, so that chunks, which depend on the batch, do not matter.
            each = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
            found = model.apply(variables, images, labels, each, method="infer")
            log_likelihood = likelihood.log_probability(found.parameters, images)
            return (log_likelihood + found.log_prior - found.log_posterior)[0]

        def more(so_far, index):
            numbers = index * chunk + jnp.arange(chunk)
            log_weights = jax.vmap(log_weight)(numbers)
            log_weights = jnp.where(numbers[:, None] < samples, log_weights, -jnp.inf)
            return jnp.logaddexp(so_far, jax.nn.logsumexp(log_weights, axis=0)), None

        start = jnp.full(len(images), -jnp.inf)
        total, _ = jax.lax.scan(more, start, jnp.arange(chunks))
        return {"nll": mean_over(math.log(samples) - total, batch["valid"])}

    return evaluate


def summarize_for(shape: tuple[int, int, int]):
    """summarize(sums): elbo (negative), reconstruction and kl in nats per image; of an evaluation
    also bits_per_dim (of the ELBO), and active_units (latents whose posterior mean has a variance
    above 0.01 over the images; Burda et al. 2016, section 5.2) or perplexity (exp of the entropy of
    the codes' shares)."""

    def summarize(sums):
        if isinstance(sums, dict):
            return {name: mean.value() for name, mean in sums.items()}
        count = float(sums.elbo.count)
        scores = {name: getattr(sums, name).value() for name in ("elbo", "reconstruction", "kl")}
        scores["bits_per_dim"] = -scores["elbo"] / (math.prod(shape) * math.log(2))
        if sums.codes.size:
            shares = sums.codes.astype(float) / sums.codes.sum()
            used = shares[shares > 0]
            scores["perplexity"] = float(np.exp(-(used * np.log(used)).sum()))
        else:
            mean = sums.first.astype(float) / count
            variance = sums.second.astype(float) / count - mean**2
            scores["active_units"] = float((variance > 0.01).sum())
        return scores

    return summarize
