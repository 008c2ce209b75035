"""Classification where an example has any number of labels: a cross-entropy for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jax.nn import softplus
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmodels import metrics
from jaxmodels.objectives.supervised import Outputs, Supervised
from jaxmodels.protocol import Batch, Mean, Score, State, mean_over

Labels = Int[Array, "batch labels"]  # 0 and 1

SCORES = {
    "loss": Score("lower", "nats", "Mean cross-entropy of a label."),
    "accuracy": Score("higher", "", "Share of labels that are right, present or not."),
    "exact": Score("higher", "", "Share of examples of which all labels are right."),
    "f1": Score("higher", "", "Harmonic mean of precision and recall of a label; label mean."),
    "micro_f1": Score("higher", "", "The same of all labels counted together."),
    "map": Score("higher", "", "Average precision of ranking the examples by a label; label mean."),
}


class MultiLabelSums(NamedTuple):
    """What `MultiLabel.evaluate` sums over examples."""

    loss: Mean
    exact: Mean
    counts: Int[Array, "labels 4"]  # see `metrics.label_counts`


@dataclass(frozen=True)
class MultiLabel(Supervised):
    """The objective of batches {input_name: ..., "target": Int[batch labels]} of 0 and 1, with one
    logit for each label. A label is predicted where its probability is above one half.

    "map", which needs all predictions at once, is left to `metrics.average_precisions`.
    """

    scores: ClassVar[Mapping[str, Score]] = MappingProxyType(SCORES)

    def example_losses(self, outputs: Outputs, target: Labels) -> Float[Array, "batch labels"]:
        """Computes the cross-entropy of each label, log(1 + exp(-logit)) of one that is there."""
        return softplus(jnp.where(target == 1, -outputs, outputs))

    def training_metrics(self, outputs: Outputs, target: Labels) -> dict[str, Mean]:
        """Computes the sums of loss and accuracy."""
        hits = (outputs > 0) == (target == 1)
        loss = mean_over(self.example_losses(outputs, target))
        return {"loss": loss, "accuracy": mean_over(hits.astype(jnp.float32))}

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> MultiLabelSums:
        """Sums over the valid examples of a batch what `summarize` needs."""
        outputs, target = self.predict(state, batch, key)["outputs"], batch["target"]
        valid: Bool[Array, " batch"] = batch["valid"]
        losses = self.example_losses(outputs, target)
        exact = jnp.all((outputs > 0) == (target == 1), axis=1)
        return MultiLabelSums(
            loss=mean_over(losses, jnp.broadcast_to(valid[:, None], losses.shape)),
            exact=mean_over(exact.astype(jnp.float32), valid),
            counts=metrics.label_counts(target == 1, outputs > 0, valid),
        )

    @staticmethod
    def summarize(sums: MultiLabelSums | Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation, or loss and accuracy of training steps."""
        if not isinstance(sums, MultiLabelSums):
            return {name: sums[name].value() for name in ("loss", "accuracy")}
        found = metrics.label_scores(sums.counts)
        return {
            "loss": sums.loss.value(),
            "accuracy": found.accuracy,
            "exact": sums.exact.value(),
            "f1": found.macro.f1,
            "micro_f1": found.micro.f1,
        }
