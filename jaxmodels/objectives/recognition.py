"""Recognition of speech. `Recogniser` is what its objectives share, `Connectionist` minimises the
loss of a text whose places in time are unknown, `Dictation` that of a text that is written token by
token."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmodels.decoding import ctc
from jaxmodels.decoding.ngrams import Grammar
from jaxmodels.objectives.descent import (
    descend_measured,
    initial_state,
    learned_of,
    of_trained,
    with_learned,
)
from jaxmodels.objectives.gradients import gradients_of, losses_in_parts
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.spikes import SCORES as NORMS
from jaxmodels.ops import softmax_cross_entropy
from jaxmodels.ops.ctc import ctc_loss, possible
from jaxmodels.protocol import (
    Batch,
    BatchSpec,
    Hyperparameters,
    Losses,
    Mean,
    PyTree,
    Score,
    State,
)


class TextLosses(NamedTuple):
    """The loss of each text, and how many of its tokens count; 0: the text does not count."""

    losses: Float[Array, " batch"]  # nats of the whole text, finite
    counts: Int[Array, " batch"]

    def mean(self, valid: Bool[Array, " batch"] | None = None) -> Mean:
        """Makes the mean over tokens."""
        counts = self.counts if valid is None else jnp.where(valid, self.counts, 0)
        total = jnp.sum(jnp.where(counts > 0, self.losses, 0))
        return Mean(total, jnp.sum(counts, dtype=jnp.int32))


_OF_STEPS = MappingProxyType(
    {name: score for name, score in NORMS.items() if name != "largest_logit"}
)


@dataclass(frozen=True)
class Recogniser(ABC):
    """An objective of batches of sounds with "tokens", Int[batch room], of which the first
    "text_length" of each row count.

    steps: the length of the run, over which the learning rate may be laid out.
    dropout, ema: enter the state as hyperparameters; zero leaves them out of the program.
    accumulate: the number of parts of a batch, which are computed one after another.
    """

    model: Any
    optimizer: OptimizerConfig
    steps: int
    dropout: float = 0.0
    ema: float = 0.0
    accumulate: int = 1

    meaning: ClassVar[str]  # of the loss

    @abstractmethod
    def first_params(self, key: Key[Array, ""], spec: BatchSpec) -> PyTree:
        """Draws the parameters of the model."""

    @abstractmethod
    def text_losses(self, params: PyTree, batch: Batch, options: dict[str, Any]) -> TextLosses:
        """Computes the loss of each text; options: of the model's pass."""

    @abstractmethod
    def predict(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Array]:
        """Finds the "tokens" of each text, and their number, its "length"."""

    @property
    def scores(self) -> dict[str, Score]:
        """What every number means."""
        return {"loss": Score("lower", "nats", self.meaning), **_OF_STEPS}

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        return {**self.optimizer.hyperparameters(), "dropout": self.dropout, "ema": self.ema}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step."""
        learned = {"params": self.first_params(key, spec)}
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
        state, norms = descend_measured(self.optimizer, self.steps, state, gradients)
        return state, sums | norms

    def loss(
        self, hyperparameters: PyTree, params: PyTree, carried: PyTree, batch: Batch, key: Any
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Computes the loss of a training batch as total and count of tokens, and its metrics."""
        mean = self.text_losses(params, batch, self._in_training(hyperparameters, key)).mean()
        return mean, carried, {"loss": mean}

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes each example's loss."""

        def of_part(name, params, carried, part, part_key):
            options = self._in_training(state["hyperparameters"], part_key)
            found = self.text_losses(params, part, options)
            values = {"losses": jnp.where(found.counts > 0, found.losses, 0)}
            values["counts"] = found.counts.astype(jnp.float32)
            return values[name], carried

        def compute(params: PyTree) -> Float[Array, " batch"]:
            totals, numbers = (
                losses_in_parts(
                    of_trained(partial(of_part, name), state),
                    params,
                    {},
                    batch,
                    key,
                    self.accumulate,
                )
                for name in TextLosses._fields
            )
            # Scaled so that their mean is the loss of the batch.
            return totals * (len(totals) / jnp.maximum(jnp.sum(numbers), 1))

        return state["params"], compute

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Mean]:
        """Sums the loss over the tokens of the valid examples of a batch."""
        found = self.text_losses(learned_of(state)["params"], batch, {})
        return {"loss": found.mean(batch["valid"])}

    @staticmethod
    def summarize(sums: Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation or of training steps."""
        return {name: mean.value() for name, mean in sums.items()}

    def _in_training(self, hyperparameters: PyTree, key: Key[Array, ""]) -> dict[str, Any]:
        options: dict[str, Any] = {"train": True}
        if self.dropout:
            options |= {"dropout_rate": hyperparameters["dropout"], "rngs": {"dropout": key}}
        return options


@dataclass(frozen=True)
class Connectionist(Recogniser):
    """Connectionist temporal classification (Graves et al. 2006) of batches with "features",
    Float[batch frames bands], of which the first "frames" of each row count. Token 0 is the blank.

    A text that is too long for its frames does not count.

    model: called as model(features, frames, train=, dropout_rate=) -> (logits [batch, places,
      labels], places that count).
    beams: prefixes of the search that `predict` makes; 1: the likeliest path.
    grammar, weight, bonus: what the search adds (see `decoding.ctc.search`).
    """

    beams: int = 1
    grammar: Grammar | None = None
    weight: float = 0.0
    bonus: float = 0.0

    meaning: ClassVar[str] = "Nats of the texts, summed over alignments, for each of their labels."

    def first_params(self, key: Key[Array, ""], spec: BatchSpec) -> PyTree:
        """Draws the parameters of the model."""
        shape = spec["features"].shape[1:]
        example = jnp.zeros((1, *shape)), jnp.ones(1, jnp.int32)
        return self.model.init(key, *example)["params"]

    def text_losses(self, params: PyTree, batch: Batch, options: dict[str, Any]) -> TextLosses:
        """Computes the loss of each text."""
        tokens, lengths = batch["tokens"], batch["text_length"]
        logits, places = self._logits(params, batch, options)
        losses = ctc_loss(logits, places, tokens, lengths)
        counts = jnp.where(possible(places, tokens, lengths), lengths, 0)
        return TextLosses(jnp.where(counts > 0, losses, 0), counts)

    def predict(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Array]:
        """Finds the "tokens" of each text, and their number, its "length"."""
        logits, places = self._logits(learned_of(state)["params"], batch, {})
        if self.beams == 1:
            found = ctc.greedy(logits, places)
        else:
            how = {"grammar": self.grammar, "weight": self.weight, "bonus": self.bonus}
            room = logits.shape[1]
            found = ctc.search(logits, places, beams=self.beams, room=room, **how)
        return {"tokens": found.labels, "length": found.length}

    def _logits(self, params: PyTree, batch: Batch, options: dict[str, Any]) -> Any:
        return self.model.apply({"params": params}, batch["features"], batch["frames"], **options)


@dataclass(frozen=True)
class Dictation(Recogniser):
    """Cross-entropy of each token of a text after its prompt, of batches with "features",
    Float[batch frames bands].

    model: called as model(features, tokens, train=, dropout_rate=) -> logits [batch, length,
      vocabulary].
    prompt: how many tokens at the start are given.
    write: (params, features) -> tokens [batch, room] and their number, the texts of sounds.
    """

    prompt: int = 1
    write: Any = None

    meaning: ClassVar[str] = "Cross-entropy of a token of the text, given those before it."

    def first_params(self, key: Key[Array, ""], spec: BatchSpec) -> PyTree:
        """Draws the parameters of the model."""
        features = jnp.zeros((1, *spec["features"].shape[1:]))
        return self.model.init(key, features, jnp.zeros((1, 2), jnp.int32))["params"]

    def text_losses(self, params: PyTree, batch: Batch, options: dict[str, Any]) -> TextLosses:
        """Computes the loss of each text."""
        tokens, lengths = batch["tokens"], batch["text_length"]
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        logits = self.model.apply({"params": params}, batch["features"], inputs, **options)
        losses = softmax_cross_entropy(logits, targets)
        places = jnp.arange(1, tokens.shape[1])
        counts = (places >= self.prompt) & (places < lengths[:, None])
        total = jnp.sum(jnp.where(counts, losses, 0), axis=1)
        return TextLosses(total, jnp.sum(counts, axis=1, dtype=jnp.int32))

    def predict(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Array]:
        """Writes the "tokens" of each text, and their number, its "length"."""
        tokens, length = self.write(learned_of(state)["params"], batch["features"])
        return {"tokens": tokens, "length": length}
