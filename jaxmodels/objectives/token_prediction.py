"""What the prediction of next and of masked tokens share: losses of the tokens that are scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmodels.errors import InputError
from jaxmodels.objectives import mup, spikes
from jaxmodels.objectives.descent import (
    descend_measured,
    initial_state,
    learned_of,
    of_trained,
    with_learned,
)
from jaxmodels.objectives.gradients import gradients_of, losses_in_parts
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.ops import HeadLosses, head_cross_entropy
from jaxmodels.protocol import (
    Batch,
    BatchSpec,
    Hyperparameters,
    Losses,
    Mean,
    PyTree,
    Score,
    State,
    mean_over,
)

_NORM = Score("neither", "", "Root mean square of the residual stream after the block.")


class TokenSums(NamedTuple):
    """What `TokenPrediction.evaluate` sums over the tokens that are scored."""

    loss: Mean  # nats
    accuracy: Mean


class Questions(NamedTuple):
    """What a model is given of a batch, and what it has to find at each place."""

    inputs: Int[Array, "batch length"]
    targets: Int[Array, "batch asked"]
    scored: Bool[Array, "batch asked"]  # the places that count
    documents: Int[Array, "batch length"] | None = None  # attention stays inside of each
    places: Int[Array, "batch asked"] | None = None  # of inputs that are asked; None: all are


@dataclass(frozen=True)
class TokenPrediction(ABC):
    """An objective of batches {"tokens": Int[batch, length + 1]}, the windows of a text.

    A batch may have "scored", Bool[batch, length]: which tokens from the second on count; and
    "document", Int[batch, length + 1]: attention stays inside of a document.

    model: has the fields and methods of `models.causal_model.CausalModel`.
    steps: the length of the run, over which the learning rate may be laid out.
    z_loss: the weight of the squared logarithm of the softmax's normaliser (see
      `head_cross_entropy`); the score `loss` is without it.
    dropout, ema, z_loss: enter the state as hyperparameters. Zero leaves the term out of the
      program, so that changing it in the state has no effect.
    accumulate: the number of parts of a batch, which are computed one after another.
    base: the model at the width for which rates and initial values were chosen; those of the model
      follow from them (see `mup`), which needs its field output_scale. None: rates and initial
      values are used as they are.
    """

    model: Any
    optimizer: OptimizerConfig
    steps: int
    z_loss: float = 0.0
    dropout: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    base: nn.Module | None = None

    meanings: ClassVar[Mapping[str, Score]]  # of the loss and the accuracy

    @abstractmethod
    def training_questions(self, batch: Batch, key: Key[Array, ""]) -> Questions:
        """Makes the questions of a training batch; the key is that of its step."""

    @abstractmethod
    def evaluation_questions(self, batch: Batch) -> Questions:
        """Makes the questions of a batch of an evaluation, the same each time."""

    @cached_property
    def network(self) -> nn.Module:
        """The model, with the scale of its outputs."""
        if self._factors is None:
            return self.model
        return self.model.clone(output_scale=self._factors.output)

    @cached_property
    def _factors(self) -> mup.Multipliers | None:
        if self.base is None:
            return None
        tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
        shapes = [
            jax.eval_shape(module.init, jax.random.key(0), tokens)["params"]
            for module in (self.base, self.model)
        ]
        return mup.multipliers(self.optimizer.optimizer, *shapes)

    @property
    def scores(self) -> dict[str, Score]:
        """What every number means, those of the model's blocks too."""
        norms = {f"norm/block_{index}": _NORM for index in range(self.model.layers)}
        return {**self.meanings, **spikes.SCORES, **norms}

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        own = {"z_loss": self.z_loss, "dropout": self.dropout, "ema": self.ema}
        return {**self.optimizer.hyperparameters(), **own}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step.

        Raises:
          InputError: muP, with adapters or rates by layer, for which it has no rule.
        """
        parts = self.optimizer.parts
        if self.base is not None and (parts.adapter_rank or parts.layer_decay != 1):
            raise InputError(
                f"adapter_rank = {parts.adapter_rank}, layer_decay = {parts.layer_decay} with muP,"
                " which sets the rates of a whole network: leave --mup-base out"
            )
        tokens = jnp.zeros((1, spec["tokens"].shape[1] - 1), jnp.int32)
        params = self.model.init(key, tokens)["params"]
        if self.base is not None and self._factors is not None:
            of_base = self.base.init(key, tokens)["params"]
            params = mup.initial_values(params, of_base, self._factors.deviations)
        learned = {"params": params}
        return initial_state(self.optimizer, learned, hyperparameters, bool(self.ema), key)

    @staticmethod
    def learned(state: State) -> dict[str, PyTree]:
        """Returns the parameters that evaluation uses."""
        return learned_of(state)

    with_learned = staticmethod(with_learned)

    def step(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Mean]]:
        """Takes one step of descent on the mean loss of the batch's tokens."""
        loss = of_trained(partial(self.loss, state["hyperparameters"]), state)
        gradients, _, sums = gradients_of(loss, state["params"], {}, batch, key, self.accumulate)
        multipliers = self._factors and self._factors.updates
        state, norms = descend_measured(self.optimizer, self.steps, state, gradients, multipliers)
        return state, sums | norms

    def loss(
        self,
        hyperparameters: Mapping[str, Float[Array, ""]],
        params: PyTree,
        carried: PyTree,
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Computes the loss of a training batch as total and count of tokens, and its metrics."""
        found, scored, norms = self._trained_on(hyperparameters, params, batch, key)
        metrics = {
            "loss": mean_over(found.losses, scored),
            "accuracy": mean_over(found.hits.astype(jnp.float32), scored),
            "largest_logit": spikes.largest(found.largest),
            **norms,
        }
        return Mean(found.total, jnp.sum(scored, dtype=jnp.int32)), carried, metrics

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes each example's loss."""

        def of_part(params, carried, part, part_key):
            found, scored, _ = self._trained_on(state["hyperparameters"], params, part, part_key)
            return jnp.sum(jnp.where(scored, found.losses, 0), axis=1), carried

        def counts(params, carried, part, part_key):
            scored = self.training_questions(part, part_key).scored
            return jnp.sum(scored, axis=1, dtype=jnp.float32), carried

        def compute(params: PyTree) -> Float[Array, " batch"]:
            totals, numbers = (
                losses_in_parts(
                    of_trained(function, state), params, {}, batch, key, self.accumulate
                )
                for function in (of_part, counts)
            )
            # Scaled so that their mean is the loss of the batch.
            return totals * (len(totals) / jnp.maximum(jnp.sum(numbers), 1))

        return state["params"], compute

    def _trained_on(
        self, hyperparameters: Mapping[str, Any], params: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> tuple[HeadLosses, Bool[Array, "batch length"], dict[str, Mean]]:
        """Computes the losses of a training batch, which of them count, and the norms of
        activations."""
        options: dict[str, Any] = {"train": True, "mutable": ["intermediates"]}
        if self.dropout:
            options |= {"dropout_rate": hyperparameters["dropout"], "rngs": {"dropout": key}}
        z_loss = hyperparameters["z_loss"] if self.z_loss else 0.0
        questions = self.training_questions(batch, key)
        (hidden, kernel), captured = self._hidden(params, questions, **options)
        norms = spikes.activation_norms(captured["intermediates"]["activation_norm"])
        return self._losses(hidden, kernel, questions, z_loss), questions.scored, norms

    def answered(self, params: PyTree, questions: Questions) -> HeadLosses:
        """Computes the losses of questions, without dropout."""
        hidden, kernel = self._hidden(params, questions)
        return self._losses(hidden, kernel, questions)

    def _hidden(self, params: PyTree, questions: Questions, **options: Any) -> Any:
        """Computes the input of the head and its kernel, and what is asked for as mutable."""
        if questions.documents is not None:
            options["documents"] = questions.documents
        apply = partial(self.network.apply, {"params": params}, method="hidden_and_head")
        found = apply(questions.inputs, **options)
        if questions.places is None:
            return found
        is_captured = "mutable" in options
        (hidden, kernel), captured = found if is_captured else (found, None)
        hidden = jnp.take_along_axis(hidden, questions.places[..., None], axis=1)
        return ((hidden, kernel), captured) if is_captured else (hidden, kernel)

    def _losses(
        self,
        hidden: Float[Array, "batch length width"],
        kernel: Float[Array, "width vocabulary"],
        questions: Questions,
        z_loss: Float[Array, ""] | float = 0.0,
    ) -> HeadLosses:
        return head_cross_entropy(
            hidden,
            kernel,
            questions.targets,
            questions.scored.astype(jnp.float32),
            logit_cap=self.model.logit_cap,
            tied=self.model.tied,
            z_loss=z_loss,
        )

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> TokenSums:
        """Sums over the scored tokens of the valid examples of a batch."""
        questions = self.evaluation_questions(batch)
        scored = questions.scored & batch["valid"][:, None]
        found = self.answered(learned_of(state)["params"], questions._replace(scored=scored))
        return TokenSums(
            mean_over(found.losses, scored), mean_over(found.hits.astype(jnp.float32), scored)
        )

    @staticmethod
    def summarize(sums: TokenSums | Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation or of training steps."""
        named = sums._asdict() if isinstance(sums, TokenSums) else sums
        return {name: mean.value() for name, mean in named.items()}


def scored_of(batch: Batch) -> Bool[Array, "batch length"]:
    """Returns which tokens of a batch from the second on count: those that "scored" marks, or
    all."""
    tokens: Int[Array, "batch more"] = batch["tokens"]
    return batch.get("scored", jnp.ones((len(tokens), tokens.shape[1] - 1), bool))
