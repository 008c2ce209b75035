"""A small script as users write them, for commands that open a run by its module."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from jaxmodels.data import Resident
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.protocol import Objective, Score, mean_over
from jaxmodels.train import Config, Experiment, RunConfig, Section

RATE = 0.05  # what a test changes to make other code


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Config):
    """Linear regression on 400 rows."""

    experiment: ClassVar[str] = "toy"

    run: Section[RunConfig] = RunConfig(
        steps=24,
        batch_size=16,
        log_every=4,
        eval_every=12,
        checkpoint_every=8,
        eval_batch_size=16,
        mesh="data=1",
    )
    poisoned: int = -1
    """A row that is not finite."""


def init(key, spec, hyperparameters):
    return {"step": jnp.int32(0), "w": jnp.zeros(spec["x"].shape[1:]), "rest": jnp.ones(3)}


def errors(w, batch):
    return jnp.square(batch["x"] @ w - batch["y"])


def loss(w, carried, batch, key):
    mean = mean_over(errors(w, batch), batch.get("valid"))
    return mean, carried, {"loss": mean}


def step(state, batch, key):
    gradient, _, sums = gradients_of(loss, state["w"], {}, batch, key)
    return {**state, "step": state["step"] + 1, "w": state["w"] - RATE * gradient}, sums


def evaluate(state, batch, key):
    return loss(state["w"], {}, batch, key)[2]


def losses(state, batch, key):
    return state["w"], lambda w: errors(w, batch)


def columns(config):
    x = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    y = x @ np.float32([1, 2, 3])
    if config.poisoned >= 0:
        y[config.poisoned] = np.inf
    return {"x": x, "y": y}


def build(config):
    data = columns(config)
    few = Resident({name: column[:20] for name, column in columns(ToyConfig()).items()})
    objective = Objective(
        init, step, evaluate, lambda sums: {"loss": sums["loss"].value()}, losses=losses
    )
    return Experiment(
        objective,
        Resident(data, key=lambda row: f"table:{row}"),
        {"validation" if config.run.patience else "test": few},
        monitor="loss",
        scores={"loss": Score("lower", "", "mean squared error")},
        facts={"data": {"rows": len(data["y"])}},
    )
