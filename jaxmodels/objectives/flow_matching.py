"""Synthesis of speech by flow matching: a flow from noise to spectrograms of texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from jaxmodels import across
from jaxmodels.objectives.descent import (
    descend,
    initial_state,
    learned_of,
    of_trained,
    with_learned,
)
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import (
    Batch,
    BatchSpec,
    Hyperparameters,
    Mean,
    PyTree,
    Score,
    State,
    example_keys,
)

_DURATION = 1.0  # weight of the error of durations

SCORES = {
    "loss": Score("lower", "", "Squared error of the velocity plus that of the log duration."),
    "velocity": Score("lower", "", "Mean squared error of the flow's velocity."),
    "duration": Score("lower", "", "Mean squared error of the logarithm of the frames."),
}


@dataclass(frozen=True)
class FlowMatching:
    """The objective of batches {"features": Float[batch frames bands], "count": Int[batch], the
    frames that are no filling, "spoken": ...}: conditional flow matching (Lipman et al. 2023) along
    straight lines from noise to features.

    model: called as model(noisy, time, spoken, count) -> (velocity, log durations); it has the
      methods `velocity` and `duration`.
    integration: steps of the midpoint rule from noise to features.
    temperature: standard deviation of the noise that features are made of.
    """

    model: nn.Module
    optimizer: OptimizerConfig
    steps: int
    ema: float = 0.0
    integration: int = 12
    temperature: float = 0.7
    accumulate: int = 1

    scores: ClassVar[Mapping[str, Score]] = MappingProxyType(SCORES)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        return {**self.optimizer.hyperparameters(), "ema": self.ema}

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step."""
        one = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape[1:]), leaf.dtype), dict(spec))
        count = jnp.ones(1, jnp.int32)
        params = self.model.init(key, one["features"], jnp.zeros(1), one["spoken"], count)["params"]
        learned = {"params": params}
        return initial_state(self.optimizer, learned, hyperparameters, bool(self.ema), key)

    learned = staticmethod(learned_of)
    with_learned = staticmethod(with_learned)

    def loss(
        self, params: PyTree, carried: PyTree, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Mean, PyTree, dict[str, Mean]]:
        """Computes the errors of velocity and duration; each example counts as one."""
        features, count = batch["features"], batch["count"]
        positions = batch.get("position", across.positions(len(features)))
        keys = jax.vmap(jax.random.split)(example_keys(key, positions))
        time = jax.vmap(jax.random.uniform)(keys[:, 0])
        noise = normal_frames(keys[:, 1], features.shape[1:])
        share = time[:, None, None]
        noisy = (1 - share) * noise + share * features
        arguments: Any = noisy, time, batch["spoken"], count
        found, logarithm = map(jnp.asarray, self.model.apply({"params": params}, *arguments))
        inside = jnp.arange(features.shape[1])[None] < count[:, None]
        squares = jnp.mean(jnp.square(found - (features - noise)), axis=-1)
        velocity = jnp.sum(jnp.where(inside, squares, 0), axis=1) / count
        duration = jnp.square(logarithm - jnp.log(count))
        valid = batch.get("valid", jnp.ones(len(features), bool))

        def mean(values):
            return Mean(jnp.sum(jnp.where(valid, values, 0)), jnp.sum(valid, dtype=jnp.int32))

        total = mean(velocity + _DURATION * duration)
        sums = {"loss": total, "velocity": mean(velocity), "duration": mean(duration)}
        return total, carried, sums

    def step(
        self, state: State, batch: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Mean]]:
        """Takes one step of descent."""
        loss = of_trained(self.loss, state)
        gradients, _, sums = gradients_of(loss, state["params"], {}, batch, key, self.accumulate)
        return descend(self.optimizer, self.steps, state, gradients), sums

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Mean]:
        """Sums the errors over the valid examples, at times and noise of their positions."""
        return self.loss(learned_of(state)["params"], {}, batch, key)[2]

    @staticmethod
    def summarize(sums: Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores."""
        return {name: sums[name].value() for name in SCORES}

    def generate(
        self, state: State, spoken: Any, noise: Float[Array, "batch frames bands"]
    ) -> tuple[Float[Array, "batch frames bands"], Int[Array, " batch"]]:
        """Makes features of texts, and how many frames they have, at most those of the noise.

        noise: normal random numbers, as of `normal_frames`.
        """
        frames, variables = noise.shape[1], {"params": learned_of(state)["params"]}
        logarithm = self.model.apply(variables, spoken, method="duration")
        count = jnp.clip(jnp.round(jnp.exp(jnp.asarray(logarithm))), 1, frames).astype(jnp.int32)
        start = self.temperature * noise
        size = 1 / self.integration

        def velocity(x, time):
            times = jnp.full(x.shape[0], time)
            arguments = x, times, spoken, count
            return jnp.asarray(self.model.apply(variables, *arguments, method="velocity"))

        def advance(number, x):
            time = number * size
            middle = x + 0.5 * size * velocity(x, time)
            return x + size * velocity(middle, time + 0.5 * size)

        return jax.lax.fori_loop(0, self.integration, advance, start), count


def normal_frames(
    keys: Key[Array, " batch"], shape: tuple[int, ...]
) -> Float[Array, "batch frames bands"]:
    """Draws normal random numbers of the shape of one example's features."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
