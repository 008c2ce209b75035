"""Several labels per example, with missing ones: a task that is new files only.

The loss is over known labels, of which examples have different numbers: it is a total with a count.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxmodels.data import Resident
from jaxmodels.objectives.descent import descend, initial_state, learned_of, of_trained
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import Mean, Objective, Score, mean_over
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Evaluation,
    Experiment,
    Findings,
    RunConfig,
    Section,
    main,
)


@dataclass(frozen=True)
class MultiLabel:
    """Independent labels of batches {"x": Float[batch columns], "labels": Int[batch labels]} in
    0, 1 or -1 (not known)."""

    labels: int
    optimizer: OptimizerConfig
    steps: int
    accumulate: int = 1

    scores: ClassVar = {
        "loss": Score("lower", "nats", "cross-entropy per known label"),
        "accuracy": Score("higher", "", "share of known labels that are right"),
        "f1": Score("higher", "", "F1 of each label, averaged over labels"),
    }

    @property
    def hyperparameters(self):
        return self.optimizer.hyperparameters()

    def init(self, key, spec, hyperparameters):
        params = nn.Dense(self.labels).init(key, jnp.zeros((1, *spec["x"].shape[1:])))["params"]
        return initial_state(self.optimizer, {"params": params}, hyperparameters, key=key)

    def step(self, state, batch, key):
        def loss(params, carried, batch, key):
            sums = self._sums(params, batch, jnp.ones(len(batch["x"]), bool))
            return sums["loss"], carried, sums

        loss = of_trained(loss, state)
        gradients, _, sums = gradients_of(loss, state["params"], {}, batch, key, self.accumulate)
        return descend(self.optimizer, self.steps, state, gradients), sums

    def evaluate(self, state, batch, key):
        return self._sums(learned_of(state)["params"], batch, batch["valid"])

    def summarize(self, sums: dict[str, Mean]):
        return {name: mean.value() for name, mean in sums.items()}

    def predict(self, state, batch, key):
        """The probability of each label."""
        return jax.nn.sigmoid(self._logits(learned_of(state)["params"], batch))

    def _logits(self, params, batch):
        return nn.Dense(self.labels).apply({"params": params}, batch["x"])

    def _sums(self, params, batch, valid):
        logits, labels = self._logits(params, batch), batch["labels"]
        known = (labels >= 0) & valid[:, None]
        losses = jax.nn.softplus(jnp.where(labels == 1, -logits, logits))
        hits = (logits > 0) == (labels == 1)
        return {"loss": mean_over(losses, known), "accuracy": mean_over(hits, known)}


@dataclass(frozen=True, kw_only=True)
class MultiLabelConfig(Config):
    """Several labels per example."""

    experiment: ClassVar[str] = "multilabel"

    run: Section[RunConfig] = RunConfig(steps=60, batch_size=16, eval_every=30, checkpoint_every=20)
    compute: Section[ComputeConfig] = ComputeConfig()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(optimizer="sgd", learning_rate=0.5)


def build(config: MultiLabelConfig, data: dict[str, dict[str, np.ndarray]]) -> Experiment:
    """The experiment on splits of arrays."""
    labels = data["train"]["labels"].shape[1]
    run = config.run
    objective = MultiLabel(labels, config.optimizer, run.steps, config.compute.accumulate)

    def after_evaluation(evaluation: Evaluation) -> Findings:
        """F1 needs all predictions: they are mapped, and counted on the host."""
        probabilities = evaluation.map(objective.predict)
        truth = evaluation.examples(np.arange(len(probabilities)))["labels"]
        chosen, known = probabilities > 0.5, truth >= 0
        hits = (chosen & (truth == 1)).sum(0)
        wrong = ((chosen != (truth == 1)) & known).sum(0)
        f1 = float(np.mean(2 * hits / np.maximum(2 * hits + wrong, 1)))
        return Findings({"f1": f1}, {"step": evaluation.step, "known": int(known.sum())})

    return Experiment(
        objective=Objective.of(objective),
        train=Resident(data["train"]),
        evaluation={split: Resident(data[split]) for split in data if split != "train"},
        monitor="f1",
        scores=MultiLabel.scores,
        facts={},
        after_evaluation=after_evaluation,
    )


if __name__ == "__main__":
    sys.exit(main(MultiLabelConfig, build))
