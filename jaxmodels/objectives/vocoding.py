"""Vocoders: a network that makes sounds of spectrograms, against networks that hear recordings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from jaxmodels.errors import InputError, require_known
from jaxmodels.objectives.adversarial_losses import LOSSES
from jaxmodels.objectives.gradients import gradients_of
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.parts import merged_part
from jaxmodels.objectives.players import (
    end_step,
    initial_players,
    learned_generator,
    learned_of_players,
    players_with_learned,
    update_player,
    whole_player,
)
from jaxmodels.ops.spectral import Mel, frame_mask, log_mel, silence_behind
from jaxmodels.ops.spectral_distance import mel_distances, resolutions_of, stft_distances
from jaxmodels.protocol import (
    Batch,
    BatchSpec,
    Hyperparameters,
    Mean,
    PyTree,
    Score,
    State,
    mean_over,
)

# Others need penalties on the slope, which are not here.
_KNOWN = ("hinge", "least_squares", "non_saturating")

SCORES = {
    "mel_distance": Score("lower", "nats", "Mean absolute difference of log mel powers."),
    "spectral_distance": Score(
        "lower", "", "Spectral convergence plus log difference of magnitudes, of 3 resolutions."
    ),
    "generator_loss": Score("lower", "", "What the generator minimises: its three terms, weighed."),
    "adversarial": Score("neither", "", "The generator's loss against the discriminators."),
    "feature_distance": Score("neither", "", "Mean absolute difference of what their layers see."),
    "discriminator_loss": Score("neither", "", "What the discriminators minimise, their mean."),
    "discriminator_accuracy": Score(
        "neither", "", "How often a place of a recording has a larger logit than of what is made."
    ),
}

Sums = dict[str, Mean]


@dataclass(frozen=True, kw_only=True)
class VocodingConfig:
    """The losses of the vocoder and of the networks that it plays against."""

    loss: str = "hinge"
    """hinge, least_squares (HiFi-GAN) or non_saturating."""
    mel_weight: float = 20.0
    """Weight of the distance of log mel powers (Vocos: 45, of amplitudes, which is half of it)."""
    feature_weight: float = 1.0
    """Weight of the distance of what the discriminators' layers see (HiFi-GAN: 2)."""
    discriminator_learning_rate: float | None = None
    """Peak learning rate of the discriminators; None: that of the generator."""
    ema: float = 0.99
    """Decay of the average of the generator's parameters, which is evaluated; 0: none."""

    def validate(self) -> None:
        """Raises InputError for an unknown loss, or a number out of range."""
        require_known("loss", self.loss, _KNOWN)
        for name in ("mel_weight", "feature_weight", "discriminator_learning_rate"):
            if not 0 <= (getattr(self, name) or 0) < float("inf"):
                raise InputError(f"{name} = {getattr(self, name)}; expected a finite number >= 0")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema = {self.ema}; expected 0 <= ema < 1")


@dataclass(frozen=True)
class Vocoding:
    """The objective of batches {"sound": Float[batch samples] of -1..1, "length": Int[batch]}, of
    which what lies behind the length is filling: there, recordings are silent and what is made does
    not count.

    A step updates the discriminators on recordings and on what the generator makes of their mel
    spectrograms, then the generator against these (Siuzdak 2023, section 3.3).

    generator: called as (log mel [batch frames bands], samples) -> sounds [batch samples].
    discriminator: called as (sounds) -> [(logits [batch places], [features [batch ...], ...])].
    mel: of the spectrograms, which the loss compares too.
    """

    generator: nn.Module
    discriminator: nn.Module
    mel: Mel
    config: VocodingConfig
    optimizer: OptimizerConfig
    steps: int
    accumulate: int = 1

    scores: ClassVar[Mapping[str, Score]] = MappingProxyType(SCORES)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers that are traced in the state."""
        rate = self.config.discriminator_learning_rate
        return {
            **self.optimizer.hyperparameters(),
            "discriminator_learning_rate": self.optimizer.learning_rate if rate is None else rate,
            "mel_weight": self.config.mel_weight,
            "feature_weight": self.config.feature_weight,
            "ema": self.config.ema,
        }

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Creates the state before the first step."""
        sound = jnp.zeros((1, spec["sound"].shape[1]))
        features, keys = log_mel(sound, self.mel), jax.random.split(key)
        params = {
            "generator": self.generator.init(keys[0], features, sound.shape[1])["params"],
            "discriminator": self.discriminator.init(keys[1], sound)["params"],
        }
        average = bool(self.config.ema)
        return initial_players(self.optimizer, self.steps, params, hyperparameters, average, key)

    learned = staticmethod(learned_of_players)
    with_learned = staticmethod(players_with_learned)

    def step(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[State, Sums]:
        """Updates the discriminators, then the generator."""
        generator = whole_player(state, "generator")
        loss = partial(self.discriminator_loss, generator)
        state, sums = self._learn(state, "discriminator", loss, batch, key)
        discriminator = whole_player(state, "discriminator")
        loss = partial(self.generator_loss, discriminator, state["hyperparameters"])
        state, others = self._learn(state, "generator", loss, batch, key)
        return end_step(state), sums | others

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> Sums:
        """Sums the distances of whole recordings from what is made of their spectrograms."""
        return self.distances(self._made(learned_generator(state), batch), batch)

    def distances(self, made: Float[Array, "batch samples"], batch: Batch) -> Sums:
        """Sums the distances of sounds, cut to the lengths of the recordings of a batch, from
        these: of mel spectrograms over the frames of recordings, of spectra over recordings."""
        sound, length, valid = batch["sound"], batch["length"], batch["valid"]
        made = silence_behind(made, length)
        frames = self.mel.frames(sound.shape[1])
        count = jnp.sum(frame_mask(length, frames, self.mel.transform), axis=1)
        count = jnp.where(valid, count, 0)
        total = jnp.sum(mel_distances(sound, made, length, self.mel) * count)
        transforms = resolutions_of(self.mel.transform)
        return {
            "mel_distance": Mean(total, jnp.sum(count).astype(jnp.int32)),
            "spectral_distance": mean_over(stft_distances(sound, made, length, transforms), valid),
        }

    @staticmethod
    def summarize(sums: Mapping[str, Mean]) -> dict[str, float]:
        """Computes the scores."""
        return {name: sums[name].value() for name in SCORES if name in sums}

    def vocode(
        self, params: PyTree, features: Float[Array, "batch frames bands"], samples: int
    ) -> Float[Array, "batch samples"]:
        """Makes sounds of so many samples of log mel spectrograms by the generator."""
        return jnp.asarray(self.generator.apply({"params": params}, features, samples))

    def discriminator_loss(
        self, generator: PyTree, params: PyTree, carried: PyTree, batch: Batch, key: Any
    ) -> tuple[Mean, PyTree, Sums]:
        """Computes the loss of the discriminators: the mean over them of the mean over places."""
        made = jax.lax.stop_gradient(self._made(generator, batch))
        real, fake = self._judged(params, batch["sound"]), self._judged(params, made)
        losses, right = [], []
        for (on_real, _), (on_fake, _) in zip(real, fake, strict=True):
            losses.append(_each_place(LOSSES[self.config.loss].discriminator, on_real, on_fake))
            right.append(jnp.mean(0.5 * (1 + jnp.sign(on_real - on_fake)), axis=1))
        loss = mean_over(sum(losses) / len(losses))
        accuracy = mean_over(sum(right) / len(right))
        return loss, carried, {"discriminator_loss": loss, "discriminator_accuracy": accuracy}

    def generator_loss(
        self,
        discriminator: PyTree,
        hyperparameters: PyTree,
        params: PyTree,
        carried: PyTree,
        batch: Batch,
        key: Any,
    ) -> tuple[Mean, PyTree, Sums]:
        """Computes the loss of the generator: against the discriminators, of what their layers see
        (the mean over networks of the sum over layers), and of mel spectrograms. Each recording
        counts as one."""
        made = self._made(params, batch)
        real, fake = self._judged(discriminator, batch["sound"]), self._judged(discriminator, made)
        against, features = [], []
        for (on_real, seen), (on_fake, other) in zip(real, fake, strict=True):
            against.append(_each_place(LOSSES[self.config.loss].generator, on_real, on_fake))
            features += [_difference(a, b) for a, b in zip(seen, other, strict=True)]
        terms = {
            "adversarial": sum(against) / len(against),
            "feature_distance": sum(features) / len(real),
            "mel_distance": mel_distances(batch["sound"], made, batch["length"], self.mel),
        }
        loss = mean_over(
            terms["adversarial"]
            + hyperparameters["feature_weight"] * terms["feature_distance"]
            + hyperparameters["mel_weight"] * terms["mel_distance"]
        )
        sums = {name: mean_over(values) for name, values in terms.items()}
        return loss, carried, {"generator_loss": loss, **sums}

    def _learn(
        self, state: State, player: str, loss: Callable, batch: Batch, key: Key[Array, ""]
    ) -> tuple[State, Sums]:
        gradients, _, sums = gradients_of(
            lambda params, *rest: loss(merged_part(state, params, player), *rest),
            state["params"][player],
            {},
            batch,
            key,
            self.accumulate,
        )
        return update_player(self.optimizer, self.steps, state, player, gradients), sums

    def _made(self, params: PyTree, batch: Batch) -> Float[Array, "batch samples"]:
        sound = batch["sound"]
        made = self.vocode(params, log_mel(sound, self.mel), sound.shape[1])
        # The discriminators would tell recordings by zeros that no generator makes.
        return silence_behind(made, batch["length"])

    def _judged(self, params: PyTree, sound: Float[Array, "batch samples"]) -> list[Any]:
        return self.discriminator.apply({"params": params}, sound)  # type: ignore


def _each_place(loss: Callable, real: Array, fake: Array) -> Float[Array, " batch"]:
    """Computes the mean over places of a loss of logits."""
    return jnp.mean(loss(real.reshape(-1), fake.reshape(-1)).reshape(real.shape), axis=1)


def _difference(one: Array, other: Array) -> Float[Array, " batch"]:
    difference = jnp.abs(one - other).astype(jnp.float32)
    return jnp.mean(difference.reshape(len(one), -1), axis=1)
