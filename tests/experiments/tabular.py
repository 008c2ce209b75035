"""Regression on the numbers of a CSV: a task that is new files only.

python -m tests.experiments.tabular --table numbers.csv --target price
"""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxmodels.data import Resident
from jaxmodels.errors import InputError
from jaxmodels.objectives.descent import descend, initial_state, learned_of, of_trained
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import Mean, Objective, Score, mean_over
from jaxmodels.train import Config, Experiment, Prediction, RunConfig, Section, main


class Network(nn.Module):
    """Numbers to one number."""

    width: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.relu(nn.Dense(self.width)(x)))[:, 0]


@dataclass(frozen=True)
class Regression:
    """Least squares on batches {"x": Float[batch columns], "y": Float[batch]}."""

    model: nn.Module
    optimizer: OptimizerConfig
    steps: int

    scores: ClassVar = {
        "mse": Score("lower", "target squared", "mean squared error"),
        "mae": Score("lower", "target", "mean absolute error"),
        "r2": Score("higher", "", "share of the target's variance that is explained"),
    }

    @property
    def hyperparameters(self):
        return self.optimizer.hyperparameters()

    def init(self, key, spec, hyperparameters):
        params = self.model.init(key, jnp.zeros((1, *spec["x"].shape[1:])))["params"]
        return initial_state(self.optimizer, {"params": params}, hyperparameters, key=key)

    def step(self, state, batch, key):
        def loss(params, carried, batch, key):
            squares = jnp.square(self._errors(params, batch))
            return mean_over(squares), carried, {"mse": mean_over(squares)}

        loss = of_trained(loss, state)
        gradients, _, sums = gradients_of(loss, state["params"], {}, batch, key)
        return descend(self.optimizer, self.steps, state, gradients), sums

    def evaluate(self, state, batch, key):
        errors, y = self._errors(learned_of(state)["params"], batch), batch["y"]
        values = {"mse": errors**2, "mae": jnp.abs(errors), "y": y, "y2": y**2}
        return {name: mean_over(value, batch["valid"]) for name, value in values.items()}

    def summarize(self, sums: dict[str, Mean]):
        means = {name: mean.value() for name, mean in sums.items()}
        if "y" in means:
            variance = means.pop("y2") - means.pop("y") ** 2
            means["r2"] = 1 - means["mse"] / variance
        return means

    def predict(self, state, batch, key):
        return self.model.apply({"params": learned_of(state)["params"]}, batch["x"])

    def _errors(self, params, batch):
        return self.model.apply({"params": params}, batch["x"]) - batch["y"]


@dataclass(frozen=True, kw_only=True)
class TabularConfig(Config):
    """Regression on a table."""

    experiment: ClassVar[str] = "tabular"

    run: Section[RunConfig] = RunConfig(
        steps=200, batch_size=32, eval_every=100, checkpoint_every=50
    )
    optimizer: Section[OptimizerConfig] = OptimizerConfig(learning_rate=0.02)
    table: str = ""
    """CSV file with a line of names."""
    target: str = "y"
    """Column to predict."""
    width: int = 16
    """Width of the hidden layer."""


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file by name."""
    if not path.is_file():
        raise InputError(f"table = {path}; expected a CSV file")
    with open(path, newline="") as file:
        yield from csv.DictReader(file)


def build(config: TabularConfig, data: dict[str, np.ndarray] | None = None) -> Experiment:
    """The experiment on a CSV file, or on columns {"x", "y"} from a notebook."""
    if data is None:
        rows = list(read_rows(Path(config.table)))
        names = [name for name in rows[0] if name != config.target]
        x = [[float(row[name]) for name in names] for row in rows]
        y = [float(row[config.target]) for row in rows]
        data = {"x": np.array(x, np.float32), "y": np.array(y, np.float32)}
    else:
        names = [str(number) for number in range(data["x"].shape[1])]
    held_out = len(data["y"]) // 5
    regression = Regression(Network(config.width), config.optimizer, config.run.steps)

    def read(path):
        for number, row in enumerate(read_rows(path)):
            try:
                yield f"{path.name}:{number}", {"x": np.array([row[n] for n in names], np.float32)}
            except (KeyError, ValueError) as error:
                yield f"{path.name}:{number}", error

    return Experiment(
        objective=Objective.of(regression),
        train=Resident({name: column[held_out:] for name, column in data.items()}),
        evaluation={"test": Resident({name: c[:held_out] for name, c in data.items()})},
        monitor="r2",
        scores=Regression.scores,
        facts={"table": {"rows": len(data["y"]), "sum": float(data["x"].sum())}},
        prediction=Prediction(read, regression.predict, lambda y: {"y": float(y)}),
    )


if __name__ == "__main__":
    sys.exit(main(TabularConfig, build))
