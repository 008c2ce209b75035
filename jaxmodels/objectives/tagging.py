"""Classification of each token of a text, of which only some count: first pieces of words."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmodels.objectives.descent import initial_state
from jaxmodels.objectives.network import init_network
from jaxmodels.objectives.supervised import Supervised
from jaxmodels.ops import softmax_cross_entropy
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

Logits = Float[Array, "batch length tags"]
Target = Int[Array, "batch length"]

SCORES = MappingProxyType(
    {
        "loss": Score("lower", "nats", "Mean cross-entropy of a word's tag."),
        "accuracy": Score("higher", "", "Share of words whose likeliest tag is the true one."),
    }
)


class TaggingSums(NamedTuple):
    """What `Tagging.evaluate` sums over the tokens that count."""

    loss: Mean  # nats
    accuracy: Mean


@dataclass(frozen=True)
class Tagging(Supervised):
    """The objective of batches {input_name: ..., "target": Int[batch length]}, where tokens with a
    target below 0 do not count.

    model: gives logits [batch, length, outputs].
    """

    scores: ClassVar[Mapping[str, Score]] = SCORES

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step.

        Raises:
          InputError: as `Supervised.init`.
        """
        shape = spec["target"].shape[1], self.outputs
        column = spec[self.input_name]
        learned = init_network(self.model, key, column, shape, self.dropout)
        return initial_state(self.optimizer, learned, hyperparameters, bool(self.ema), key)

    def example_losses(self, outputs: Logits, target: Target) -> Float[Array, "batch length"]:
        """Computes the cross-entropy of each token; 0 where it does not count."""
        losses = softmax_cross_entropy(outputs, jnp.maximum(target, 0))
        return jnp.where(target >= 0, losses, 0)

    def training_metrics(self, outputs: Logits, target: Target) -> dict[str, Mean]:
        """Computes the sums of loss and accuracy, over the tokens that count."""
        return self._sums(outputs, target, target >= 0)._asdict()

    def _sums(
        self, outputs: Logits, target: Target, counted: Bool[Array, "batch length"]
    ) -> TaggingSums:
        hits = jnp.argmax(outputs, axis=-1) == target
        return TaggingSums(
            mean_over(self.example_losses(outputs, target), counted),
            mean_over(hits.astype(jnp.float32), counted),
        )

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes each example's loss, whose
        mean is the loss of the batch."""
        params, compute = super().losses(state, batch, key)
        target = batch["target"]
        share = target.size / jnp.maximum(jnp.sum(target >= 0), 1)
        return params, lambda params: share * compute(params)

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> TaggingSums:
        """Sums over the tokens that count of the valid examples of a batch."""
        outputs, target = super().predict(state, batch, key)["outputs"], batch["target"]
        return self._sums(outputs, target, (target >= 0) & batch["valid"][:, None])

    @staticmethod
    def summarize(sums: TaggingSums | Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation or of training steps."""
        named = sums._asdict() if isinstance(sums, TaggingSums) else sums
        return {name: named[name].value() for name in SCORES}

    def tags(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Any]:
        """Computes the likeliest "tags" of each token, beside the other columns of a batch."""
        outputs = cast(jax.Array, super().predict(state, batch, key)["outputs"])
        others = {name: batch[name] for name in ("word", "words") if name in batch}
        return {**others, "tags": jnp.argmax(outputs, axis=-1).astype(jnp.int32)}
