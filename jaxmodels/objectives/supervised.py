"""What regression, multi-label classification and tagging share: a network from an input to
numbers, and a loss of each example. `objectives.classifier` has weights and mixed targets as well.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from flax import linen as nn
from jaxtyping import Array, Float, Key, Num

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
from jaxmodels.protocol import Batch, BatchSpec, Hyperparameters, Losses, Mean, PyTree, State

Outputs = Float[Array, "batch ..."]


@dataclass(frozen=True)
class Supervised(ABC):
    """An objective of batches {input_name: ..., "target": ...}.

    model: called as model(x, train=bool, dropout_rate=None or a traced number) -> [batch, outputs].
    outputs: how many numbers it gives for an example.
    steps: the length of the run, over which the learning rate may be laid out.
    dropout, ema: enter the state as hyperparameters; zero leaves them out of the program. With ema
      evaluation and prediction use averages of the parameters and of the batch statistics.
    accumulate: the number of parts of a batch, which are computed one after another.
    """

    model: nn.Module
    outputs: int
    optimizer: OptimizerConfig
    steps: int
    dropout: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    input_name: str = "features"

    @abstractmethod
    def example_losses(self, outputs: Outputs, target: Num[Array, "batch ..."]) -> Array:
        """Computes what is averaged: [batch], or [batch, ...]."""

    @abstractmethod
    def training_metrics(self, outputs: Outputs, target: Num[Array, "batch ..."]) -> dict:
        """Computes sums for `summarize`, with "loss"."""

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        return {**self.optimizer.hyperparameters(), "dropout": self.dropout, "ema": self.ema}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step.

        Raises:
          InputError: outputs of another number, or dropout with a model that has none.
        """
        column = spec[self.input_name]
        learned = init_network(self.model, key, column, self.outputs, self.dropout)
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
        gradients, batch_stats, sums = gradients_of(
            loss, state["params"], state["batch_stats"], batch, key, self.accumulate
        )
        state = descend(self.optimizer, self.steps, state, gradients, batch_stats=batch_stats)
        return state, sums

    def loss(
        self, hyperparameters: PyTree, params: PyTree, batch_stats: PyTree, batch: Batch, key: Any
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Computes the loss of a training batch, the batch statistics after it and its metrics."""
        outputs, batch_stats = self._in_training(hyperparameters, params, batch_stats, batch, key)
        sums = self.training_metrics(outputs, batch["target"])
        return sums["loss"], batch_stats, sums

    def losses(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Losses]:
        """Returns the parameters, and the function of them that computes each example's loss."""

        def of_part(params, batch_stats, part, part_key):
            given = state["hyperparameters"], params, batch_stats, part, part_key
            outputs, batch_stats = self._in_training(*given)
            losses = self.example_losses(outputs, part["target"])
            return losses.reshape(len(losses), -1).mean(1), batch_stats

        def compute(params: PyTree) -> Float[Array, " batch"]:
            return losses_in_parts(
                of_trained(of_part, state),
                params,
                state["batch_stats"],
                batch,
                key,
                self.accumulate,
            )

        return state["params"], compute

    def predict(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Outputs]:
        """Computes the "outputs" of each example."""
        learned = learned_of(state, "batch_stats")
        outputs = self.model.apply(learned, batch[self.input_name], train=False)
        return {"outputs": cast(Array, outputs)}

    def _in_training(
        self, hyperparameters: PyTree, params: PyTree, batch_stats: PyTree, batch: Batch, key: Any
    ) -> tuple[Outputs, PyTree]:
        rate = hyperparameters["dropout"] if self.dropout else None
        return pass_in_training(self.model, params, batch_stats, batch[self.input_name], key, rate)
