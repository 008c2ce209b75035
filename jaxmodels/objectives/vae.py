"""Variational autoencoders: any latent-variable model with any bound that it allows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, UInt8

from jaxmodels import across
from jaxmodels.objectives.descent import (
    descend,
    differentiated_in_trained,
    initial_state,
    learned_of,
    of_trained,
    with_learned,
)
from jaxmodels.objectives.doubly_reparameterized import doubly_reparameterized
from jaxmodels.objectives.generation import in_chunks
from jaxmodels.objectives.gradients import (
    Differentiated,
    accumulate_gradients,
    gradients_of,
    losses_in_parts,
)
from jaxmodels.objectives.likelihoods import Likelihood
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.variational_bounds import (
    importance_weighted_bound,
    log_prior_over_posterior,
)
from jaxmodels.objectives.variational_config import VariationalConfig, require_allowed
from jaxmodels.objectives.variational_losses import Weights, minimised
from jaxmodels.objectives.variational_scores import (
    SCORES,
    Terms,
    VariationalSums,
    elbo_terms,
    evaluation_scores,
)
from jaxmodels.ops.latents import Inference, call, decode_samples
from jaxmodels.protocol import (
    Batch,
    BatchSpec,
    Hyperparameters,
    Losses,
    Mean,
    PyTree,
    Score,
    State,
    example_keys,
    mean_over,
)

PerImage = Float[Array, " batch"]
Keys = Key[Array, " batch"]


@dataclass(frozen=True)
class VariationalAutoencoder:
    """The objective of batches {"image": Float[batch height width channels] in 0..1} and, for
    classes > 0, "label": Int[batch].

    model: has the methods that `jaxmodels.ops.latents` describes.
    config, optimizer: their numbers enter the state as hyperparameters; here they only say which
      terms exist.
    steps: the length of training, over which schedules are laid out.
    shape: of an image.
    dataset_size: the number of training examples, which beta_tc needs.
    accumulate: the number of parts of a batch, which are computed one after another.
    draw: whether images of latents are the mean of p(x|z) or a draw of it.
    """

    model: nn.Module
    likelihood: Likelihood
    config: VariationalConfig
    optimizer: OptimizerConfig
    steps: int
    shape: tuple[int, int, int]
    dataset_size: int
    classes: int = 0
    accumulate: int = 1
    draw: Literal["mean", "sample"] = "mean"

    scores: ClassVar[Mapping[str, Score]] = SCORES

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        return {**self.optimizer.hyperparameters(), **self.config.hyperparameters()}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Makes the state of step 0: parameters, and other collections of the model (a codebook).

        Raises:
          InputError: a bound that the model does not allow.
        """
        image = jnp.zeros((1, *spec["image"].shape[1:]))
        labels = jnp.zeros(1, jnp.int32) if self.classes else None

        def create(key):
            keys = jax.random.split(key, 1)
            return self.model.init_with_output(key, image, labels, keys, method="infer")

        require_allowed(self.config, type(self.model).__name__, jax.eval_shape(create, key)[0])
        variables = dict(create(key)[1])
        learned = {"params": variables.pop("params"), "collections": variables}
        return initial_state(self.optimizer, learned, hyperparameters, bool(self.config.ema), key)

    @staticmethod
    def learned(state: State) -> dict[str, PyTree]:
        """Returns the parameters and collections that evaluation uses."""
        return learned_of(state, "collections")

    with_learned = staticmethod(with_learned)

    def step(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[State, dict]:
        """Makes one update; sums "loss" and the parts of the ELBO."""
        weights = self.weights(state)
        given = state["params"], state["collections"], batch, key, self.accumulate
        if self.config.objective == "dreg":
            differentiate = partial(self.differentiate_doubly, weights=weights)
            differentiate = differentiated_in_trained(differentiate, state)
            gradients, collections, sums = accumulate_gradients(differentiate, *given)
        else:
            loss = of_trained(partial(self.loss, weights=weights), state)
            gradients, collections, sums = gradients_of(loss, *given)
        state = descend(self.optimizer, self.steps, state, gradients, collections=collections)
        return state, sums

    def weights(self, state: State) -> Weights:
        """Returns the weights of the terms at this step: the hyperparameters, and as "kl" the
        weight of the KL, which rises during the warm-up."""
        weights = state["hyperparameters"]
        kl_weight = weights["beta"]
        if self.config.kl_warmup:
            kl_weight *= jnp.minimum(1.0, (state["step"] + 1) / self.config.kl_warmup)
        return {**weights, "kl": kl_weight}

    def loss(
        self,
        params: PyTree,
        collections: PyTree,
        batch: Batch,
        key: Key[Array, ""],
        weights: Weights,
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Sums the terms of a batch over its images."""
        terms, collections = self.terms(params, collections, batch, key, weights)
        sums = {name: mean_over(values) for name, values in terms.items()}
        return sums["loss"], collections, sums

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes each image's loss. Its
        gradient is the plain one of the bound, also for dreg."""
        weights = self.weights(state)

        def of_part(params, collections, part, key):
            terms, collections = self.terms(params, collections, part, key, weights)
            return terms["loss"], collections

        return state["params"], lambda params: losses_in_parts(
            of_trained(of_part, state), params, state["collections"], batch, key, self.accumulate
        )

    def terms(
        self,
        params: PyTree,
        collections: PyTree,
        batch: Batch,
        key: Key[Array, ""],
        weights: Weights,
    ) -> tuple[Terms, PyTree]:
        """Returns the loss and the parts of the ELBO of each image, and the collections after this
        batch."""
        noise, restart, prior = jax.random.split(key, 3)
        inference, changed = call(
            self.model,
            "infer",
            {"params": params, **collections},
            batch["image"],
            labels_of(batch, self.classes),
            example_keys(noise, across.positions(len(batch["image"]))),
            self.config.particles,
            mutable=list(collections),
            rngs={"restart": restart},
        )
        log_likelihood = self.likelihood.log_probability(inference.parameters, batch["image"])
        losses = minimised(
            self.config, self.dataset_size, inference, log_likelihood, weights, prior
        )
        if inference.commitment is not None:
            losses = losses + weights["commitment"] * inference.commitment
        terms = {"loss": losses, **elbo_terms(inference, log_likelihood)}
        return terms, {**collections, **changed}

    def differentiate_doubly(
        self,
        params: PyTree,
        collections: PyTree,
        batch: Batch,
        key: Key[Array, ""],
        weights: Weights,
    ) -> Differentiated:
        """Sums the doubly reparameterised gradients and the terms of a batch over its images."""
        gradients, terms = self.doubly_reparameterized(params, collections, batch, key, weights)
        sums = {name: mean_over(values) for name, values in terms.items()}
        return Differentiated(gradients, sums["loss"].count, collections, sums)

    def doubly_reparameterized(
        self,
        params: PyTree,
        collections: PyTree,
        batch: Batch,
        key: Key[Array, ""],
        weights: Weights,
    ) -> tuple[PyTree, Terms]:
        """Returns the gradients of the total loss, the encoder's doubly reparameterised, and the
        terms of each image."""
        noise = jax.random.split(key, 3)[0]
        keys = example_keys(noise, across.positions(len(batch["image"])))

        def draw(params):
            variables = {"params": params, **collections}
            inference = self.infer(variables, batch, keys, self.config.particles)
            return inference.latents, inference

        def weigh(inference, params, latents):
            variables = {"params": params, **collections}
            log_likelihood = self.log_likelihood(variables, batch, latents)
            log_ratio = log_prior_over_posterior(latents, inference.posterior)
            return log_likelihood + weights["kl"] * log_ratio, log_likelihood

        estimate = doubly_reparameterized(draw, weigh, params, weights["kl"])
        loss = -importance_weighted_bound(estimate.log_weights)
        terms = {"loss": loss, **elbo_terms(estimate.inference, estimate.log_likelihood)}
        return estimate.gradients, terms

    def infer(
        self, variables: PyTree, batch: Batch, keys: Keys | None, samples: int = 1
    ) -> Inference:
        """Runs encoder and decoder; without keys there is no noise."""
        labels = labels_of(batch, self.classes)
        return call(self.model, "infer", variables, batch["image"], labels, keys, samples)

    def log_likelihood(
        self, variables: PyTree, batch: Batch, latents: Float[Array, "samples batch size"]
    ) -> Float[Array, "samples batch"]:
        """Returns log p(x|z) of each image at samples of z."""
        decode = partial(call, self.model, "decode", variables)
        parameters = decode_samples(decode, latents, labels_of(batch, self.classes))
        return self.likelihood.log_probability(parameters, batch["image"])

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> VariationalSums:
        """Sums the ELBO of one sample per image, and statistics of the latents."""
        variables, valid = variables_of(state), batch["valid"]
        inference, terms = self.scored(variables, batch, key)
        if inference.codes is None:
            means = _side_by_side(self.infer(variables, batch, None).latents)
            means = jnp.where(valid[:, None], means, 0)
            chosen = jnp.zeros(0, jnp.int32)
        else:
            means = jnp.zeros((1, 0))
            codes = jnp.where(valid[:, None], inference.codes, self.model.codes)
            chosen = jnp.zeros(self.model.codes, jnp.int32).at[codes].add(1, mode="drop")
        return VariationalSums(
            **{name: mean_over(values, valid) for name, values in terms.items()},
            first=jnp.sum(means, axis=0),
            second=jnp.sum(jnp.square(means), axis=0),
            codes=chosen,
        )

    def scored(
        self, variables: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Inference, Terms]:
        """Returns the inference of one sample per image, and the parts of its ELBO."""
        inference = self.infer(variables, batch, example_keys(key, batch["position"]))
        log_likelihood = self.likelihood.log_probability(inference.parameters, batch["image"])
        return inference, elbo_terms(inference, log_likelihood)

    def elbo(self, state: State, batch: Batch, key: Key[Array, ""]) -> PerImage:
        """Returns each image's ELBO, which `evaluate` sums."""
        return self.scored(variables_of(state), batch, key)[1]["elbo"]

    def predict(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, PyTree]:
        """Returns the means of q(z|x) as "latents", and the means of p(x|z) at these latents as
        "reconstruction"."""
        inference = self.infer(variables_of(state), batch, None)
        return {
            "reconstruction": self.likelihood.mean(inference.parameters[0]),
            "latents": jax.tree.map(lambda leaf: leaf[0], inference.latents),
        }

    def sample(
        self, state: State, key: Key[Array, ""], conditions: int | Mapping[str, PyTree]
    ) -> dict[str, PyTree]:
        """Draws "images" as bytes, and with classes their "labels".

        conditions: the number of images, with labels in turn; or {"latents": ..., "labels": ...},
          of which the latents may be left out.
        """
        variables = variables_of(state)
        labels = None
        if isinstance(conditions, int):
            count, latents = conditions, None
            if self.classes:
                labels = jnp.arange(count) % self.classes
        else:
            latents, labels = conditions.get("latents"), conditions.get("labels")
            count = len(jax.tree.leaves(conditions)[0])
        keys = example_keys(key, jnp.arange(count))
        if latents is None:
            images = in_chunks(lambda rows: self.images_of_prior(variables, *rows), (keys, labels))
        else:
            rows = (latents, labels, keys)
            images = in_chunks(lambda rows: self.images_of(variables, *rows), rows)
        return {"images": images, **({"labels": labels} if self.classes else {})}

    def images_of_prior(
        self, variables: PyTree, keys: Keys, labels: Int[Array, " batch"] | None
    ) -> UInt8[Array, "batch height width channels"]:
        """Draws latents of the prior, and returns their images."""
        latents = call(self.model, "prior", variables, keys, labels)
        return self.images_of(variables, latents, labels, keys)

    def images_of(
        self,
        variables: PyTree,
        latents: PyTree,
        labels: Int[Array, " batch"] | None,
        keys: Keys,
    ) -> UInt8[Array, "batch height width channels"]:
        """Returns the images of latents, as bytes."""
        parameters = call(self.model, "decode", variables, latents, labels)
        if self.draw == "mean":
            images = self.likelihood.mean(parameters)
        else:
            # Pixels need other keys than the latents, which were drawn with these.
            keys = jax.vmap(lambda key: jax.random.fold_in(key, 2**31 - 1))(keys)
            images = jax.vmap(self.likelihood.sample)(keys, parameters)
        return jnp.round(255 * images).astype(jnp.uint8)

    def summarize(self, sums: VariationalSums | dict[str, Mean]) -> dict[str, float]:
        """Returns the scores of a step or an evaluation, which `scores` describes."""
        if isinstance(sums, dict):
            return {name: mean.value() for name, mean in sums.items()}
        return evaluation_scores(sums, self.shape)


def variables_of(state: State) -> dict[str, PyTree]:
    """Returns the variables that evaluation uses: their average, if the state keeps one."""
    learned = learned_of(state, "collections")
    return {"params": learned["params"], **learned["collections"]}


def labels_of(batch: Batch, classes: int) -> Int[Array, " batch"] | None:
    """Returns the labels; None if the model takes none."""
    return batch.get("label") if classes else None


def _side_by_side(latents: PyTree) -> Float[Array, "batch latents"]:
    """Returns the first sample of all groups of latents as one row per image."""
    return jnp.concatenate([z[0].reshape(z.shape[1], -1) for z in jax.tree.leaves(latents)], -1)
