"""Regression: least squares over any module that maps an input to one number."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmodels.objectives.supervised import Outputs, Supervised
from jaxmodels.protocol import Batch, Mean, Score, State, mean_over

Targets = Float[Array, " batch"]


def scores_in(unit: str) -> Mapping[str, Score]:
    """Declares the scores of a target that has this unit, or this name."""
    return MappingProxyType(
        {
            "loss": Score(
                "lower", "", "Mean squared error of the scaled target (1: its variance)."
            ),
            "r2": Score("higher", "", "Share of the variance of the target that is explained."),
            "mae": Score("lower", unit, "Mean absolute error."),
            "rmse": Score("lower", unit, "Root of the mean squared error."),
        }
    )


class RegressionSums(NamedTuple):
    """What `Regression.evaluate` sums over examples, of scaled targets."""

    square: Mean  # of the errors
    absolute: Mean
    target: Mean
    target_square: Mean


@dataclass(frozen=True)
class Regression(Supervised):
    """The objective of batches {input_name: ..., "target": Float[batch]}, whose target has a mean
    near 0 and a variance near 1.

    scale: what a target of 1 is in the unit of mae and rmse.
    """

    scale: float = 1.0

    scores: ClassVar[Mapping[str, Score]] = scores_in("")

    def example_losses(self, outputs: Outputs, target: Targets) -> Targets:
        """Computes the squared error of each example."""
        return jnp.square(outputs[:, 0] - target)

    def training_metrics(self, outputs: Outputs, target: Targets) -> dict[str, Mean]:
        """Computes the sums of the training loss."""
        return {"loss": mean_over(self.example_losses(outputs, target))}

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> RegressionSums:
        """Sums over the valid examples of a batch what `summarize` needs."""
        target, valid = batch["target"], batch["valid"]
        errors = self.predict(state, batch, key)["outputs"][:, 0] - target
        values = jnp.square(errors), jnp.abs(errors), target, jnp.square(target)
        return RegressionSums(*(mean_over(value, valid) for value in values))

    def summarize(self, sums: RegressionSums | Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores of an evaluation, or the loss of training steps. Without any variance
        of the target, r2 is not a number."""
        if not isinstance(sums, RegressionSums):
            return {"loss": sums["loss"].value()}
        square = sums.square.value()
        variance = sums.target_square.value() - sums.target.value() ** 2
        return {
            "loss": square,
            "r2": 1 - square / variance if variance > 0 else float("nan"),
            "mae": self.scale * sums.absolute.value(),
            "rmse": self.scale * square**0.5,
        }
