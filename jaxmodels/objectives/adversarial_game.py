"""The game of two networks: their forward passes, and the gradient of each player's loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Int, Key

from jaxmodels import across
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.adversarial_losses import LOSSES, AdversarialLoss, Logits
from jaxmodels.objectives.discriminator_penalties import penalty_gradient
from jaxmodels.objectives.gradient_penalties import Images
from jaxmodels.objectives.gradients import Differentiated
from jaxmodels.objectives.kept_statistics import Modules, statistics_kept
from jaxmodels.ops import diff_augment
from jaxmodels.ops.rematerialize import rematerialized_whole
from jaxmodels.protocol import Batch, Mean, PyTree, example_keys, mean_over

Sums = dict[str, Mean]


class TurnKeys(NamedTuple):
    """The keys of one turn."""

    latents: Key[Array, ""]
    real: Key[Array, ""]  # for augmentation of the real images
    fake: Key[Array, ""]
    penalty: Key[Array, ""]

    @classmethod
    def of(cls, key: Key[Array, ""]) -> "TurnKeys":
        """Splits the key of a turn."""
        return cls(*jax.random.split(key, len(cls._fields)))


class Passes(NamedTuple):
    """The forward passes of both networks on one batch, and the pullbacks of their outputs."""

    fake: Images
    on_real: Logits
    on_fake: Logits
    collections: PyTree  # of both players, after the passes
    # Each maps the gradient in an output to the gradients in:
    pull_fake: Callable  # the generator's parameters
    pull_on_real: Callable  # the discriminator's parameters
    pull_on_fake: Callable  # the discriminator's parameters, and the fakes


@dataclass(frozen=True)
class Game:
    """Two networks and their losses. Batches are those of `GAN`, with "latents".

    params and collections: of both players, by name.
    keeping: the modules of each player whose statistics stay (see `kept_statistics`).
    """

    generator: nn.Module
    discriminator: nn.Module
    config: AdversarialConfig
    classes: int
    keeping: Mapping[str, Modules] = field(default_factory=dict)

    def differentiate(
        self,
        players: tuple[str, ...],
        hyperparameters: PyTree,
        updates: Int[Array, ""],
        params: PyTree,
        collections: PyTree,
        batch: Batch,
        key: Key[Array, ""],
    ) -> Differentiated:
        """Differentiates the losses of these players, each in its own parameters, by pullbacks of
        the same forward passes. updates: the number of earlier updates of the discriminator."""
        keys = TurnKeys.of(key)
        passes = self._pass_forward(params, collections, batch, keys)
        critic, sums = self._discriminator_gradient(passes)
        if self.config.has_penalty:
            penalty, sums["penalty"] = penalty_gradient(
                self.config,
                hyperparameters,
                partial(self._penalized, collections["discriminator"], self.labels(batch)),
                params["discriminator"],
                batch["image"],
                passes.fake,
                keys.penalty,
                updates,
            )
            critic = jax.tree.map(jnp.add, critic, penalty)
        gradients = {"discriminator": critic}
        if "generator" in players:
            gradients["generator"], sums["generator_loss"] = self._generator_gradient(passes)
        # These are gradients of means, with count 1, because the parts of a batch have equal size.
        # They are divided where the backward pass starts, for the reason that `gradients_of` gives.
        return Differentiated(gradients, jnp.int32(1), passes.collections, sums)

    def generator_loss(
        self,
        discriminator: PyTree,
        params: PyTree,
        collections: PyTree,
        batch: Batch,
        key: Key[Array, ""],
    ) -> tuple[Mean, PyTree, Sums]:
        """Computes the generator's loss against a discriminator of these parameters."""
        labels, keys, seen = self.labels(batch), TurnKeys.of(key), collections["discriminator"]
        fake, made = self._fake(params, collections["generator"], batch)
        # The discriminator keeps the batch statistics and power iterations of its own turn.
        on_fake, _ = self._score(discriminator, seen, fake, labels, keys.fake)
        # XLA does not compute these unless the loss compares pairs.
        on_real, _ = self._score(discriminator, seen, batch["image"], labels, keys.real)
        loss = mean_over(self._loss.generator(on_real, on_fake))
        return loss, {**collections, "generator": made}, {"generator_loss": loss}

    def labels(self, batch: Batch) -> Int[Array, " batch"] | None:
        """Returns the labels for both networks; None if they take none."""
        return batch.get("label") if self.classes else None

    def _pass_forward(
        self, params: PyTree, collections: PyTree, batch: Batch, keys: TurnKeys
    ) -> Passes:
        """Makes a fake for each real image and scores both, real images first."""
        real, labels = batch["image"], self.labels(batch)
        fake, pull_fake, made = jax.vjp(
            lambda params: self._fake(params, collections["generator"], batch),
            params["generator"],
            has_aux=True,
        )
        on_real, pull_on_real, seen = jax.vjp(
            lambda params: self._score(
                params, collections["discriminator"], real, labels, keys.real
            ),
            params["discriminator"],
            has_aux=True,
        )
        on_fake, pull_on_fake, seen = jax.vjp(
            lambda params, fake: self._score(params, seen, fake, labels, keys.fake),
            params["discriminator"],
            fake,
            has_aux=True,
        )
        after = {"generator": made, "discriminator": seen}
        return Passes(fake, on_real, on_fake, after, pull_fake, pull_on_real, pull_on_fake)

    def _discriminator_gradient(self, passes: Passes) -> tuple[PyTree, Sums]:
        """Differentiates the discriminator's mean loss in its parameters."""
        loss = self._loss.discriminator
        losses, pull_losses = jax.vjp(loss, passes.on_real, passes.on_fake)
        in_real, in_fake = pull_losses(jnp.full_like(losses, 1 / losses.size))
        (by_real,), (by_fake, _) = passes.pull_on_real(in_real), passes.pull_on_fake(in_fake)
        sums = {
            "discriminator_loss": mean_over(losses),
            "discriminator_accuracy": pairwise_accuracy(passes.on_real, passes.on_fake),
        }
        return jax.tree.map(jnp.add, by_real, by_fake), sums

    def _generator_gradient(self, passes: Passes) -> tuple[PyTree, Mean]:
        """Differentiates the generator's mean loss in its parameters."""
        loss = partial(self._loss.generator, passes.on_real)
        losses, pull_losses = jax.vjp(loss, passes.on_fake)
        (in_logits,) = pull_losses(jnp.full_like(losses, 1 / losses.size))
        _, in_images = passes.pull_on_fake(in_logits)
        (gradient,) = passes.pull_fake(in_images)
        return gradient, mean_over(losses)

    def _fake(self, params: PyTree, collections: PyTree, batch: Batch) -> tuple[Images, PyTree]:
        """Makes fakes of a batch's latents; gives them and the generator's new collections."""
        with statistics_kept(self.keeping.get("generator", frozenset())):
            return _apply(self.generator, params, collections, batch["latents"], self.labels(batch))

    def _score(
        self,
        params: PyTree,
        collections: PyTree,
        images: Images,
        labels: Int[Array, " batch"] | None,
        key: Key[Array, ""],
    ) -> tuple[Logits, PyTree]:
        """Augments images if configured, and scores them; gives logits and new collections."""
        if self.config.diff_augment:
            keys = example_keys(key, across.positions(len(images)))
            images = diff_augment(images, keys, self.config.diff_augment)
        with statistics_kept(self.keeping.get("discriminator", frozenset())):
            return _apply(self.discriminator, params, collections, images, labels)

    def _penalized(
        self,
        collections: PyTree,
        labels: Int[Array, " batch"] | None,
        params: PyTree,
        images: Images,
    ) -> Logits:
        """Scores images without augmentation; drops the new collections."""
        with statistics_kept(self.keeping.get("discriminator", frozenset())):
            return _apply(self.discriminator, params, collections, images, labels)[0]

    @property
    def _loss(self) -> AdversarialLoss:
        return LOSSES[self.config.loss]


def pairwise_accuracy(
    real: Logits, fake: Logits, valid: Bool[Array, " batch"] | None = None
) -> Mean:
    """Counts how often a real image has a larger logit than its fake; ties count half.

    It means the same for every loss, whereas a logit of 0 does not.
    """
    return mean_over(0.5 * (1.0 + jnp.sign(real - fake)), valid)


def _apply(
    module: nn.Module, params: PyTree, collections: PyTree, *inputs: Array | None
) -> tuple[Array, PyTree]:
    """Applies a network in training mode; gives its output and its new collections."""

    def run(params, collections, *inputs):
        variables = {"params": params, **collections}
        return module.apply(variables, *inputs, train=True, mutable=list(collections))

    return rematerialized_whole(run)(params, collections, *inputs)
