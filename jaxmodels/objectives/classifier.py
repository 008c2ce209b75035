"""Classification: cross-entropy over any module that maps an input to logits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import ClassVar, NamedTuple, cast

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from jaxmodels import metrics
from jaxmodels.errors import InputError
from jaxmodels.metrics import CalibrationBins
from jaxmodels.objectives.bucketed import Bucket, in_bucket
from jaxmodels.objectives.descent import (
    descend,
    initial_state,
    learned_of,
    of_trained,
    with_learned,
)
from jaxmodels.objectives.gradients import gradients_of, losses_in_parts
from jaxmodels.objectives.network import init_network, pass_in_training
from jaxmodels.objectives.optimizers import OptimizerConfig
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

CALIBRATION_BINS = 15

SCORES = {
    "loss": Score("lower", "nats", "Mean cross-entropy; in training with label smoothing."),
    "accuracy": Score("higher", "", "Share of examples whose most likely class is the true one."),
    "top5": Score("higher", "", "Share of examples whose true class is among the five likeliest."),
    "precision": Score("higher", "", "Share of predictions of a class that are right; class mean."),
    "recall": Score("higher", "", "Share of examples of a class that are found; class mean."),
    "f1": Score("higher", "", "Harmonic mean of precision and recall; class mean."),
    "ece": Score("lower", "", "Expected gap between confidence and accuracy, over 15 bins."),
}


class ClassifierSums(NamedTuple):
    """What `Classifier.evaluate` sums over examples."""

    loss: Mean  # nats
    top5: Mean
    confusion: Int[Array, "label prediction"]
    calibration: CalibrationBins


@dataclass(frozen=True)
class Classifier:
    """The objective of batches {input_name: ..., "label": Int[batch]}.

    A training batch may also have "target", Float[batch classes]: probabilities that replace the
    label in the loss, as mixed examples have them.

    model: called as model(x, train=bool) -> logits [batch, classes], and in training, where there
      is dropout, also with dropout_rate=, a traced number.
    steps: the length of the run, over which the learning rate may be laid out.
    label_smoothing, dropout, ema: enter the state as hyperparameters. Zero leaves the term out of
      the program, so that changing it in the state has no effect.
    ema: with a decay above zero, evaluation and prediction use averages of the parameters *and* of
      the running batch statistics, which one rate updates at every step.
    class_weights: of the loss of each example, by its class (or its targets); empty: all are 1. The
      loss of a batch is the sum of the weighted losses over the sum of the weights, as in torch's
      `cross_entropy(weight=...)`; a smoothed target weighs as its label.
    accumulate: the number of parts of a batch, which are computed one after another.
    buckets: the lengths that training batches with a column "bucket" are cut to, where inputs are
      rows of tokens (see `in_bucket`).
    """

    model: nn.Module
    classes: int
    optimizer: OptimizerConfig
    steps: int
    label_smoothing: float = 0.0
    dropout: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    class_weights: tuple[float, ...] = ()
    input_name: str = "image"
    buckets: Sequence[Bucket] = ()

    scores: ClassVar[Mapping[str, Score]] = MappingProxyType(SCORES)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        return {
            **self.optimizer.hyperparameters(),
            "label_smoothing": self.label_smoothing,
            "dropout": self.dropout,
            "ema": self.ema,
        }

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step.

        Raises:
          InputError: logits that are not one per class, or dropout with a model that has none.
        """
        column = spec[self.input_name]
        learned = init_network(self.model, key, column, self.classes, self.dropout)
        return initial_state(self.optimizer, learned, hyperparameters, bool(self.ema), key)

    @staticmethod
    def learned(state: State) -> dict[str, PyTree]:
        """Returns the parameters and batch statistics that evaluation uses."""
        return learned_of(state, "batch_stats")

    with_learned = staticmethod(with_learned)

    def step(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Mean]]:
        """Takes one step of descent on the mean loss of a batch."""
        loss = of_trained(partial(self.loss, state["hyperparameters"]), state)

        def differentiated(part):
            given = state["params"], state["batch_stats"], part, key, self.accumulate
            return gradients_of(loss, *given)

        gradients, batch_stats, sums = self._in_bucket(differentiated, batch)
        state = descend(self.optimizer, self.steps, state, gradients, batch_stats=batch_stats)
        return state, sums

    def loss(
        self,
        hyperparameters: Mapping[str, Float[Array, ""]],
        params: PyTree,
        batch_stats: PyTree,
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Computes the loss of a training batch, the batch statistics after it and its metrics."""
        losses, logits, batch_stats = self._cross_entropies(
            hyperparameters, params, batch_stats, batch, key
        )
        loss = mean_over(losses)
        if self.class_weights:
            weights = self._weights(batch)
            loss = Mean(jnp.sum(weights * losses), jnp.sum(weights))
        hits = jnp.argmax(logits, axis=-1) == batch["label"]
        return loss, batch_stats, {"loss": loss, "accuracy": mean_over(hits.astype(jnp.float32))}

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes each example's loss."""

        def of_part(*given):
            losses, _, batch_stats = self._cross_entropies(state["hyperparameters"], *given)
            return losses, batch_stats

        def compute(params: PyTree) -> Float[Array, " batch"]:
            def of_bucket(part):
                given = params, state["batch_stats"], part, key, self.accumulate
                return losses_in_parts(of_trained(of_part, state), *given)

            losses = self._in_bucket(of_bucket, batch)
            if not self.class_weights:
                return losses
            # Scaled so that their mean is the loss of the batch.
            weights = self._weights(batch)
            return losses * weights / jnp.mean(weights)

        return state["params"], compute

    def _in_bucket(self, function: Callable[[Batch], PyTree], batch: Batch) -> PyTree:
        """Applies a function to a training batch in its shape."""
        return in_bucket(function, batch, self.buckets, {self.input_name: 0})

    def _weights(self, batch: Batch) -> Float[Array, " batch"]:
        weights = jnp.asarray(self.class_weights, jnp.float32)
        return batch["target"] @ weights if "target" in batch else weights[batch["label"]]

    def _cross_entropies(
        self,
        hyperparameters: Mapping[str, Float[Array, ""]],
        params: PyTree,
        batch_stats: PyTree,
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, " batch"], Float[Array, "batch classes"], PyTree]:
        """Computes each example's loss, the logits, and the batch statistics after the batch."""
        rate = hyperparameters["dropout"] if self.dropout else None
        logits, batch_stats = pass_in_training(
            self.model, params, batch_stats, batch[self.input_name], key, rate
        )
        smoothing = hyperparameters["label_smoothing"] if self.label_smoothing else 0.0
        target = batch.get("target", batch["label"])
        losses = softmax_cross_entropy(logits, target, smoothing)
        return losses, logits, batch_stats

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> ClassifierSums:
        """Sums over the valid examples of a batch what `summarize` needs."""
        logits, labels, valid = self._logits(state, batch), batch["label"], batch["valid"]
        predictions = jnp.argmax(logits, axis=-1)
        return ClassifierSums(
            loss=mean_over(softmax_cross_entropy(logits, labels), valid),
            top5=metrics.top_k_hits(logits, labels, 5, valid),
            confusion=metrics.confusion_counts(labels, predictions, self.classes, valid),
            calibration=metrics.calibration_bins(logits, labels, CALIBRATION_BINS, valid),
        )

    @staticmethod
    def summarize(sums: ClassifierSums | Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation, or loss and accuracy of training steps."""
        if not isinstance(sums, ClassifierSums):
            return {name: sums[name].value() for name in ("loss", "accuracy")}
        ratios = metrics.classification_scores(sums.confusion)
        return {
            "loss": sums.loss.value(),
            "accuracy": ratios.accuracy,
            "top5": sums.top5.value(),
            "precision": ratios.macro.precision,
            "recall": ratios.macro.recall,
            "f1": ratios.macro.f1,
            "ece": metrics.expected_calibration_error(sums.calibration),
        }

    def predict(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> dict[str, Float[Array, "batch classes"]]:
        """Computes the "logits" of each example."""
        return {"logits": self._logits(state, batch)}

    def features(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, "batch features"]:
        """Computes the input of the model's last layer for each example.

        Raises:
          InputError: a model without a method `features`.
        """
        if not callable(getattr(type(self.model), "features", None)):
            raise InputError(
                f"model {type(self.model).__name__} offers no features; expected a method"
                " features(x) -> [batch, features]: give the module one"
            )
        learned = learned_of(state, "batch_stats")
        features = self.model.apply(learned, batch[self.input_name], method="features")
        return jnp.asarray(features, jnp.float32)

    def _logits(self, state: State, batch: Batch) -> Float[Array, "batch classes"]:
        learned = learned_of(state, "batch_stats")
        return cast(Array, self.model.apply(learned, batch[self.input_name], train=False))


def balanced_weights(labels: Int[np.ndarray, " example"], classes: int) -> tuple[float, ...]:
    """Computes weights that give all classes the same sum: examples / (classes * examples of the
    class), as scikit-learn's "balanced". A class without examples weighs nothing."""
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return tuple(len(labels) / (present * n) if n else 0.0 for n in counts.tolist())
