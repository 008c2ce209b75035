"""Summarization by an encoder and a decoder that can copy words of the document."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxmodels.objectives.bucketed import Bucket, in_bucket
from jaxmodels.objectives.descent import (
    descend_measured,
    initial_state,
    learned_of,
    of_trained,
    with_learned,
)
from jaxmodels.objectives.gradients import gradients_of, losses_in_parts
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.spikes import SCORES as SPIKES
from jaxmodels.objectives.summaries import SummarySearch, searched
from jaxmodels.ops.copy_mixture import log_likelihoods
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

PADDING = 0
SCORES = MappingProxyType(
    {
        "loss": Score("lower", "nats", "Mean negative log-likelihood of a word of a summary."),
        "copying": Score("neither", "", "Mean probability that a word is copied, not written."),
        "gradient_norm": SPIKES["gradient_norm"],
        "update_norm": SPIKES["update_norm"],
    }
)


class SummarySums(NamedTuple):
    """What `PointerSummarizer.evaluate` sums over the words of summaries."""

    loss: Mean  # nats
    copying: Mean


@dataclass(frozen=True, kw_only=True)
class PointerSummarizer:
    """The objective of batches {"source": Int[batch, source], "copied": Int[batch, source],
    "target": Int[batch, target], "row": Int[batch]}, where 0 is padding.

    The target begins with the token that starts a text and has its end behind it. "copied" and
    "target" have numbers from the vocabulary's size on for words that only a source has.

    Batches of training may be of one of several shapes: each column [row, pair, length], and in
    every row "bucket", the number of the shape, whose pairs are cut out of each row (see
    `data.buckets.Bucketed`). The program of each shape is compiled once.

    model: has the methods of `models.pointer_generator.PointerGenerator`.
    buckets: the shapes ((length of source, length of target), pairs in a row), the smallest first;
      none: that of the columns.
    steps: the length of the run, over which the learning rate may be laid out.
    dropout, ema: enter the state as hyperparameters. Zero leaves the term out of the program.
    accumulate: the number of parts of a batch, which are computed one after another.
    """

    model: Any
    optimizer: OptimizerConfig
    steps: int
    search: SummarySearch
    buckets: Sequence[Bucket] = ()
    dropout: float = 0.0
    ema: float = 0.0
    accumulate: int = 1

    scores: ClassVar[Mapping[str, Score]] = SCORES

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        own = {"dropout": self.dropout, "ema": self.ema}
        return {**self.optimizer.hyperparameters(), **own}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step."""
        source, target = (jnp.ones((1, spec[name].shape[-1]), int) for name in ("source", "target"))
        params = self.model.init(key, source, target, valid=source > PADDING)["params"]
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
        """Takes one step of descent on the mean loss of the batch's words."""
        loss = of_trained(partial(self.loss, state["hyperparameters"]), state)

        def differentiated(part):
            return gradients_of(loss, state["params"], {}, part, key, self.accumulate)

        gradients, _, sums = self._by_bucket(differentiated, batch)
        state, norms = descend_measured(self.optimizer, self.steps, state, gradients)
        return state, sums | norms

    def loss(
        self,
        hyperparameters: Mapping[str, Float[Array, ""]],
        params: PyTree,
        carried: PyTree,
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Computes the loss of a training batch as total and count of words, and its metrics."""
        losses, copying, scored = self._losses(params, batch, hyperparameters, key)
        loss = mean_over(losses, scored)
        return loss, carried, {"loss": loss, "copying": mean_over(copying, scored)}

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes the loss of each row of
        the batch."""

        def of_part(params, carried, part, part_key):
            losses, _, scored = self._losses(params, part, state["hyperparameters"], part_key)
            return jnp.sum(jnp.where(scored, losses, 0), axis=1), carried

        def compute(params: PyTree) -> Float[Array, " batch"]:
            def of_bucket(part):
                given = of_trained(of_part, state), params, {}, part, key, self.accumulate
                totals = losses_in_parts(*given).reshape(len(batch["source"]), -1)
                words = jnp.sum(part["target"][:, 1:] != PADDING)
                # Scaled so that their mean is the loss of the batch.
                return jnp.sum(totals, axis=1) * (len(totals) / jnp.maximum(words, 1))

            return self._by_bucket(of_bucket, batch)

        return state["params"], compute

    def _by_bucket(self, function: Callable[[Batch], PyTree], batch: Batch) -> PyTree:
        """Applies a function to the pairs of a training batch in their shape."""
        columns = {"source": 0, "copied": 0, "target": 1}
        return in_bucket(function, batch, self.buckets, columns)

    def _losses(
        self,
        params: PyTree,
        batch: Batch,
        hyperparameters: Mapping[str, Any] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[
        Float[Array, "batch length"], Float[Array, "batch length"], Bool[Array, "batch length"]
    ]:
        """Computes the loss of each word, the probability that it is copied, and which words are
        there. hyperparameters: in training alone."""
        options: dict[str, Any] = {"train": hyperparameters is not None}
        if hyperparameters is not None and self.dropout:
            options |= {"dropout_rate": hyperparameters["dropout"], "rngs": {"dropout": key}}
        source, target = batch["source"], batch["target"]
        valid = source != PADDING
        mixture = self.model.apply(
            {"params": params}, source, target[:, :-1], valid=valid, **options
        )
        losses = -log_likelihoods(mixture, batch["copied"], valid, target[:, 1:])
        return losses, jax.nn.sigmoid(-mixture.gate), target[:, 1:] != PADDING

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> SummarySums:
        """Sums over the words of the valid examples of a batch."""
        losses, copying, scored = self._losses(learned_of(state)["params"], batch)
        scored &= batch["valid"][:, None]
        return SummarySums(mean_over(losses, scored), mean_over(copying, scored))

    @staticmethod
    def summarize(sums: SummarySums | Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation or of training steps."""
        named = sums._asdict() if isinstance(sums, SummarySums) else sums
        return {name: mean.value() for name, mean in named.items()}

    def write(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Array]:
        """Writes the summary of each document: "tokens", "length", and the "row"."""
        variables = {"params": learned_of(state)["params"]}
        source, copied = batch["source"], batch["copied"]
        given = source, copied, source != PADDING
        memory = self.model.apply(variables, *given, method="encode_to_copy")
        step = self.model.copying_step(variables["params"], memory)
        begin = batch["target"][:, :1]
        prompt = jnp.ones(source.shape[0], jnp.int32)
        found = searched(step, begin, prompt, self.search, self.search.rules(prompt))
        return {**found, "row": batch["row"]}
