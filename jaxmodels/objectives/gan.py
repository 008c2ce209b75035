"""Generative adversarial networks: two networks and two optimizers in one pure step."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from jaxmodels.errors import InputError
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.adversarial_game import Game, Sums, TurnKeys, pairwise_accuracy
from jaxmodels.objectives.adversarial_losses import LOSSES
from jaxmodels.objectives.descent import differentiated_in_trained
from jaxmodels.objectives.generation import (
    draw_latents,
    generate,
    with_recomputed_statistics,
)
from jaxmodels.objectives.gradients import accumulate_gradients, gradients_of, split_batch
from jaxmodels.objectives.kept_statistics import modules_that_keep
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.parts import merged_part
from jaxmodels.objectives.players import (
    PLAYERS,
    end_step,
    initial_players,
    learned_generator,
    learned_of_players,
    players_with_learned,
    update_player,
    whole_player,
)
from jaxmodels.protocol import (
    Batch,
    BatchSpec,
    Hyperparameters,
    PyTree,
    Score,
    State,
    mean_over,
)

Turn = Int[Array, ""] | int  # counts the updates within one step


@dataclass(frozen=True)
class GAN:
    """The objective of batches {"image": Float[batch height width channels] in -1..1} and, for
    classes > 0, "label": Int[batch].

    One step is one update of the generator and `critic_steps` of the discriminator, so its batch
    holds critic_steps * B real images. The numbers in `config` and `optimizer` enter the state as
    hyperparameters; elsewhere they only say which terms exist.

    generator: called as (latents, labels, train=) -> images; it may have collections beside its
    parameters, as may the discriminator.
    discriminator: called as (images, labels, train=) -> logits.
    steps: the length of training, over which schedules are laid out.
    classes: the number of labels; 0: neither network takes labels.
    truncation: largest absolute latent of samples (Brock et al. 2019, section 3.1); 0: no limit.
    accumulate: the number of parts of a batch, which are computed one after another.
    """

    generator: nn.Module
    discriminator: nn.Module
    config: AdversarialConfig
    optimizer: OptimizerConfig
    steps: int
    latent_size: int
    classes: int = 0
    truncation: float = 0.0
    accumulate: int = 1

    scores: ClassVar[Mapping[str, Score]] = MappingProxyType(
        {
            "discriminator_loss": Score(
                "neither",
                "",
                "what the discriminator minimises, without penalties; it rises as fakes improve",
            ),
            "generator_loss": Score(
                "lower",
                "",
                "what the generator minimises, against the discriminator of the same step",
            ),
            "discriminator_accuracy": Score(
                "neither",
                "",
                "how often a real image has a larger logit than the fake beside it; 0.5: the"
                " discriminator cannot tell them apart",
            ),
            "penalty": Score(
                "neither",
                "",
                "what is added to the discriminator's loss, weights included",
            ),
        }
    )

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers of both configs that are traced in the state."""
        names = ("gradient_penalty", "r1", "r2", "consistency", "consistency_fake", "ema")
        rate = self.config.discriminator_learning_rate
        return {
            **self.optimizer.hyperparameters(),
            "discriminator_learning_rate": self.optimizer.learning_rate if rate is None else rate,
            **{name: getattr(self.config, name) for name in names},
        }

    def init(self, key: Key[Array, ""], spec: BatchSpec, hyperparameters: Hyperparameters) -> State:
        """Makes the state of step 0.

        Raises:
          InputError: a penalty on the slope at single images with BatchNorm in the discriminator.
        """
        variables = self._init_networks(key, spec["image"].shape[1:])
        params = {player: variables[player].pop("params") for player in PLAYERS}
        if self.config.penalizes_slope and "batch_stats" in variables["discriminator"]:
            raise InputError(
                "gradient_penalty, r1 and r2 need the discriminator's slope at single images, which"
                " BatchNorm mixes; give the discriminator another: --norm none, layer or spectral"
            )
        average = bool(self.config.ema)
        state = initial_players(self.optimizer, self.steps, params, hyperparameters, average, key)
        return {**state, "collections": variables}

    @staticmethod
    def learned(state: State) -> dict[str, PyTree]:
        """Returns the parameters of both networks, of the generator's the average if there is one,
        and their collections."""
        return learned_of_players(state, "collections")

    with_learned = staticmethod(players_with_learned)

    def step(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[State, Sums]:
        """Updates the discriminator once on each of `critic_steps` parts of the batch, and the
        generator once, in the last of these turns or after it."""
        parts = split_batch(batch, self.config.critic_steps)
        state, earlier = self._criticize_all_but_last(state, parts, key)
        take_turns = {
            "alternating": self._alternate,
            "shared": self._share,
            "simultaneous": self._simultaneously,
        }[self.config.updates]
        last = jax.tree.map(lambda column: column[-1], parts)
        state, sums = take_turns(state, last, key)
        for name, total in earlier.items():
            sums[name] = jax.tree.map(jnp.add, sums[name], total)
        return end_step(state), sums

    def evaluate(self, state: State, batch: Batch, key: Key[Array, ""]) -> Sums:
        """Sums both losses and the discriminator's accuracy over the valid real images and a fake
        for each. Parameters are the last ones, not averages; batch statistics are the running
        ones."""
        labels = batch.get("label") if self.classes else None
        generator, discriminator = (
            {"params": whole_player(state, player), **state["collections"][player]}
            for player in PLAYERS
        )
        latents = draw_latents(
            key, len(batch["image"]), self.latent_size, positions=batch["position"]
        )
        fake = self.generator.apply(generator, latents, labels, train=False)
        on_real = self.discriminator.apply(discriminator, batch["image"], labels, train=False)
        on_fake = self.discriminator.apply(discriminator, fake, labels, train=False)
        loss, valid = LOSSES[self.config.loss], batch["valid"]
        return {
            "discriminator_loss": mean_over(loss.discriminator(on_real, on_fake), valid),
            "generator_loss": mean_over(loss.generator(on_real, on_fake), valid),
            "discriminator_accuracy": pairwise_accuracy(on_real, on_fake, valid),
        }

    @staticmethod
    def summarize(sums: Sums) -> dict[str, float]:
        """Divides the sums of `step` or `evaluate`; see `scores` for what they mean."""
        return {name: mean.value() for name, mean in sorted(sums.items())}

    def sample(
        self, state: State, key: Key[Array, ""], conditions: int | Mapping[str, Array]
    ) -> dict[str, Array]:
        """Generates "images" in 0..255 and, with classes, their "labels".

        They are made by the generator with `generator_variables`.

        conditions: the number of images, with random latents and labels 0, 1, ..., classes - 1,
          0, ...; or {"latents": ..., "labels": ...}, of which the latents may be left out.
        """
        variables = self.generator_variables(state)
        if isinstance(conditions, int):
            labels = {"labels": jnp.arange(conditions) % self.classes} if self.classes else {}
            latents = draw_latents(key, conditions, self.latent_size, self.truncation)
            conditions = {"latents": latents, **labels}
        labels = {"labels": conditions["labels"]} if self.classes else {}
        latents = conditions.get("latents")
        if latents is None:
            count = len(conditions["labels"])
            latents = draw_latents(key, count, self.latent_size, self.truncation)
        images = generate(self.generator, variables, latents, labels.get("labels"))
        return {"images": images, **labels}

    def generator_variables(self, state: State) -> PyTree:
        """Returns the average of the generator's parameters if there is one, with batch statistics
        recomputed for these (see `with_recomputed_statistics`)."""
        return with_recomputed_statistics(
            self.generator,
            {"params": learned_generator(state), **state["collections"]["generator"]},
            self.latent_size,
            self.classes,
        )

    def training_latents(
        self, key: Key[Array, ""], turn: Turn, count: int
    ) -> Float[Array, "count latent"]:
        """Draws the latents of the fakes of one turn, by the key of the step; turn `critic_steps`
        is the generator's own."""
        own = TurnKeys.of(jax.random.fold_in(key, turn))
        return draw_latents(own.latents, count, self.latent_size)

    def _init_networks(self, key: Key[Array, ""], shape: tuple[int, ...]) -> dict[str, PyTree]:
        labels = jnp.zeros(1, jnp.int32) if self.classes else None
        keys = jax.random.split(key)
        return {
            "generator": self.generator.init(keys[0], jnp.zeros((1, self.latent_size)), labels),
            "discriminator": self.discriminator.init(keys[1], jnp.zeros((1, *shape)), labels),
        }

    # The three orders of updates. Each takes the last part of the batch and the step's key, and
    # makes the discriminator's last update and the generator's.

    def _alternate(self, state: State, part: Batch, key: Key[Array, ""]) -> tuple[State, Sums]:
        """Updates the discriminator, then the generator with fresh fakes."""
        turn = self.config.critic_steps - 1
        state, sums = self._criticize(state, turn, self._with_latents(part, turn, key), key)
        state, answer = self._answer(state, self._with_latents(part, turn + 1, key), key)
        return state, sums | answer

    def _share(self, state: State, part: Batch, key: Key[Array, ""]) -> tuple[State, Sums]:
        """Updates the discriminator, then the generator with the same fakes."""
        turn = self.config.critic_steps - 1
        part = self._with_latents(part, turn, key)
        before = state["collections"]["generator"]
        state, sums = self._criticize(state, turn, part, key)
        # The generator starts from the collections that it had before the discriminator's turn. Its
        # forward pass is then the same computation as in that turn, and XLA keeps one of the two.
        state = {**state, "collections": {**state["collections"], "generator": before}}
        state, answer = self._answer(state, part, key)
        return state, sums | answer

    def _simultaneously(self, state: State, part: Batch, key: Key[Array, ""]) -> tuple[State, Sums]:
        """Updates both players by gradients from the same forward passes."""
        turn = self.config.critic_steps - 1
        return self._learn(PLAYERS, state, turn, self._with_latents(part, turn, key), key)

    def _criticize_all_but_last(
        self, state: State, parts: Batch, key: Key[Array, ""]
    ) -> tuple[State, Sums]:
        """Updates the discriminator on every part of the batch but the last, in a loop."""
        turns = self.config.critic_steps - 1
        if not turns:
            return state, {}

        def take_turn(state, turn_and_part):
            turn, part = turn_and_part
            return self._criticize(state, turn, self._with_latents(part, turn, key), key)

        earlier = jax.tree.map(lambda column: column[:-1], parts)
        state, sums = jax.lax.scan(take_turn, state, (jnp.arange(turns), earlier))
        return state, jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)

    def _criticize(
        self, state: State, turn: Turn, part: Batch, key: Key[Array, ""]
    ) -> tuple[State, Sums]:
        """Updates the discriminator alone."""
        return self._learn(("discriminator",), state, turn, part, key)

    def _learn(
        self, players: tuple[str, ...], state: State, turn: Turn, part: Batch, key: Key[Array, ""]
    ) -> tuple[State, Sums]:
        """Updates the discriminator and, if it is among the players, the generator."""
        updates = state["step"] * self.config.critic_steps + turn
        differentiate = partial(
            self._game(state).differentiate, players, state["hyperparameters"], updates
        )
        gradients, collections, sums = accumulate_gradients(
            differentiated_in_trained(differentiate, state),
            state["params"],
            state["collections"],
            part,
            jax.random.fold_in(key, turn),
            self.accumulate,
        )
        state = {**state, "collections": collections}
        for player in players:
            state = self._update(state, player, gradients[player])
        return state, sums

    def _answer(self, state: State, part: Batch, key: Key[Array, ""]) -> tuple[State, Sums]:
        """Updates the generator against the discriminator as it is."""
        loss = partial(self._game(state).generator_loss, whole_player(state, "discriminator"))
        gradients, collections, sums = gradients_of(
            lambda params, *rest: loss(merged_part(state, params, "generator"), *rest),
            state["params"]["generator"],
            state["collections"],
            part,
            jax.random.fold_in(key, self.config.critic_steps),
            self.accumulate,
        )
        return self._update({**state, "collections": collections}, "generator", gradients), sums

    def _update(self, state: State, player: str, gradients: PyTree) -> State:
        return update_player(self.optimizer, self.steps, state, player, gradients)

    def _with_latents(self, part: Batch, turn: Turn, key: Key[Array, ""]) -> Batch:
        return {**part, "latents": self.training_latents(key, turn, len(part["image"]))}

    def _game(self, state: State) -> Game:
        keeping = {}
        if "frozen" in state:
            keeping = {
                player: modules_that_keep(
                    *(state[part][player] for part in ("params", "frozen", "collections"))
                )
                for player in PLAYERS
            }
        return Game(self.generator, self.discriminator, self.config, self.classes, keeping)
