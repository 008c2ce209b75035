"""Generative adversarial networks: two networks and two optimizers in one pure step."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array

from jaxmodels import across
from jaxmodels.errors import InputError
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.adversarial_losses import LOSSES
from jaxmodels.objectives.averaging import update_average
from jaxmodels.objectives.discriminator_penalties import penalty_gradient
from jaxmodels.objectives.generation import (
    draw_latents,
    generate,
    with_recomputed_statistics,
)
from jaxmodels.objectives.gradients import accumulate_gradients, gradients_of, split_batch
from jaxmodels.objectives.optimizers import make_optimizer, scheduled_rate
from jaxmodels.ops import diff_augment
from jaxmodels.protocol import Mean, Objective, example_keys, mean_over

PLAYERS = ("generator", "discriminator")


def gan(
    generator: nn.Module,
    discriminator: nn.Module,
    config: AdversarialConfig,
    *,
    steps: int,
    latent_size: int,
    classes: int = 0,
    truncation: float = 0.0,
    accumulate: int = 1,
) -> Objective:
    """The objective of batches {"image": Float[batch height width channels] in -1..1} and, for
    classes > 0, "label": Int[batch].

    One step is one update of the generator and `critic_steps` of the discriminator, so its batch
    holds critic_steps * B real images. generator: called as (latents, labels, train=) -> images;
    discriminator: as (images, labels, train=) -> logits; both may have collections beside
    parameters. The numbers in `config` enter the state as hyperparameters; here they only say
    which terms exist.

    sample(state, key, n): uint8 images (and, with classes, labels 0, 1, ..., classes - 1, 0, ...).
    Instead of n: {"latents": ..., "labels": ...}. They come from the average of the generator's
    parameters if there is one, and batch statistics recomputed for these (see
    `with_recomputed_statistics`). truncation: latents beyond it are drawn anew (Brock et al. 2019,
    section 3.1); 0: none are.
    """
    loss = LOSSES[config.loss]

    def init(key, spec, hyperparameters):
        shape = spec["image"].shape
        labels = jnp.zeros(1, jnp.int32) if classes else None
        keys = jax.random.split(key)
        variables = {
            "generator": generator.init(keys[0], jnp.zeros((1, latent_size)), labels),
            "discriminator": discriminator.init(keys[1], jnp.zeros((1, *shape[1:])), labels),
        }
        params = {player: variables[player].pop("params") for player in PLAYERS}
        if config.penalizes_slope and "batch_stats" in variables["discriminator"]:
            raise InputError(
                "gradient_penalty, r1 and r2 need the discriminator's slope at single images, which"
                " BatchNorm mixes; give the discriminator another: --norm none, layer or spectral"
            )
        numbers = {name: jnp.float32(value) for name, value in hyperparameters.items()}
        return {
            "step": jnp.int32(0),
            "hyperparameters": numbers,
            "params": params,
            "collections": variables,
            "optimizer": {
                player: _rule(player, numbers, jnp.int32(0)).init(params[player])
                for player in PLAYERS
            },
            # A copy: two leaves of one buffer cannot both be donated.
            "ema": jax.tree.map(jnp.copy, params["generator"]) if config.ema else {},
        }

    def _rule(player, numbers, step):
        if player == "discriminator":
            numbers = {**numbers, "learning_rate": numbers["discriminator_learning_rate"]}
        return make_optimizer(config, numbers, scheduled_rate(config, steps, numbers, step))

    def _update(state, player, gradients):
        rule = _rule(player, state["hyperparameters"], state["step"])
        params = state["params"][player]
        updates, moments = rule.update(gradients, state["optimizer"][player], params)
        return {
            **state,
            "params": {**state["params"], player: optax.apply_updates(params, updates)},
            "optimizer": {**state["optimizer"], player: moments},
        }

    def _apply(module, params, collections, *inputs):
        return module.apply(
            {"params": params, **collections}, *inputs, train=True, mutable=list(collections)
        )

    def _generate(params, collections, batch):
        """Fakes for a batch's latents, and the collections they leave behind."""
        labels = batch.get("label") if classes else None
        return _apply(generator, params, collections, batch["latents"], labels)

    def _score(params, collections, images, labels, key):
        """Logits of (augmented) images, and the collections they leave behind."""
        if config.diff_augment:
            images = diff_augment(
                images, example_keys(key, across.positions(len(images))), config.diff_augment
            )
        return _apply(discriminator, params, collections, images, labels)

    def step(state, batch, key):
        numbers = state["hyperparameters"]
        parts = split_batch(batch, config.critic_steps)
        last = jax.tree.map(lambda column: column[-1], parts)
        together = config.updates == "simultaneous"

        def with_latents(part, turn):
            own = jax.random.split(jax.random.fold_in(key, turn), 4)[0]
            return {**part, "latents": draw_latents(own, len(part["image"]), latent_size)}

        def criticize(state, index, part, generator_too=False):
            def differentiate(params, collections, part, key):
                when = state["step"] * config.critic_steps + index
                return _differentiate(params, collections, part, key, when, numbers, generator_too)

            gradients, collections, sums = accumulate_gradients(
                differentiate,
                state["params"],
                state["collections"],
                part,
                jax.random.fold_in(key, index),
                accumulate,
            )
            state = {**state, "collections": collections}
            for player in gradients:
                state = _update(state, player, gradients[player])
            return state, sums

        def one_of_many(state, index_and_part):
            index, part = index_and_part
            return criticize(state, index, with_latents(part, index))

        first, earlier = config.critic_steps - 1, {}
        if first:
            others = jax.tree.map(lambda column: column[:-1], parts)
            state, earlier = jax.lax.scan(one_of_many, state, (jnp.arange(first), others))
        before, last = state["collections"]["generator"], with_latents(last, first)
        state, sums = criticize(state, first, last, generator_too=together)
        for name, each in earlier.items():
            sums[name] = jax.tree.map(lambda one, many: one + jnp.sum(many, 0), sums[name], each)
        if not together:
            collections = state["collections"]
            if config.updates == "shared":
                # The pass of the turn before, word for word: XLA keeps one of the two.
                collections = {**collections, "generator": before}
            else:
                last = with_latents(last, config.critic_steps)
            gradients, collections, answer = gradients_of(
                lambda *args: _generator_loss(state["params"]["discriminator"], *args),
                state["params"]["generator"],
                collections,
                last,
                jax.random.fold_in(key, config.critic_steps),
                accumulate,
            )
            state = _update({**state, "collections": collections}, "generator", gradients)
            sums |= answer
        average = state["ema"]
        if config.ema:
            new = state["params"]["generator"]
            average = update_average(average, new, numbers["ema"], state["step"])
        return {**state, "step": state["step"] + 1, "ema": average}, sums

    def _differentiate(params, collections, batch, key, when, numbers, generator_too):
        """Gradients of the discriminator's loss in its parameters and, if asked for, of the
        generator's in its own, by two pullbacks of the same forward passes."""
        real, labels = batch["image"], batch.get("label") if classes else None
        _, real_key, fake_key, penalty_key = jax.random.split(key, 4)
        fake, pull_generator, changed = jax.vjp(
            lambda p: _generate(p, collections["generator"], batch),
            params["generator"],
            has_aux=True,
        )
        on_real, pull_real, seen = jax.vjp(
            lambda p: _score(p, collections["discriminator"], real, labels, real_key),
            params["discriminator"],
            has_aux=True,
        )
        on_fake, pull_fake, seen = jax.vjp(
            lambda p, x: _score(p, seen, x, labels, fake_key),
            params["discriminator"],
            fake,
            has_aux=True,
        )
        losses, pull_losses = jax.vjp(loss.discriminator, on_real, on_fake)
        mean = jnp.full_like(losses, 1 / losses.size)
        to_real, to_fake = pull_losses(mean)
        gradients = {
            "discriminator": jax.tree.map(jnp.add, pull_real(to_real)[0], pull_fake(to_fake)[0])
        }
        sums = {
            "discriminator_loss": mean_over(losses),
            "discriminator_accuracy": _accuracy(on_real, on_fake),
        }
        if config.has_penalty:

            def score(params):
                seen = collections["discriminator"]
                return lambda images: _apply(discriminator, params, seen, images, labels)[0]

            more, sums["penalty"] = penalty_gradient(
                config, numbers, score, params["discriminator"], real, fake, penalty_key, when
            )
            gradients["discriminator"] = jax.tree.map(jnp.add, gradients["discriminator"], more)
        if generator_too:
            losses, pull_losses = jax.vjp(lambda logits: loss.generator(on_real, logits), on_fake)
            to_fake = pull_losses(mean)[0]
            gradients["generator"] = pull_generator(pull_fake(to_fake)[1])[0]
            sums["generator_loss"] = mean_over(losses)
        return gradients, ({"generator": changed, "discriminator": seen}, sums)

    def _generator_loss(discriminator_params, params, collections, batch, key):
        labels = batch.get("label") if classes else None
        _, real_key, fake_key = jax.random.split(key, 3)
        fake, changed = _generate(params, collections["generator"], batch)
        seen = collections["discriminator"]
        # Its batch statistics and power iterations stay those that the discriminator's turn left.
        on_fake, _ = _score(discriminator_params, seen, fake, labels, fake_key)
        # Unless the loss compares pairs, nothing depends on these, and they are not computed.
        on_real, _ = _score(discriminator_params, seen, batch["image"], labels, real_key)
        losses = loss.generator(on_real, on_fake)
        sums = {"generator_loss": mean_over(losses)}
        return jnp.mean(losses), ({**collections, "generator": changed}, sums)

    def evaluate(state, batch, key):
        labels = batch.get("label") if classes else None
        seen = {"params": state["params"]["discriminator"], **state["collections"]["discriminator"]}
        latents = draw_latents(key, len(batch["image"]), latent_size, positions=batch["position"])
        made = {"params": state["params"]["generator"], **state["collections"]["generator"]}
        fake = generator.apply(made, latents, labels, train=False)
        on_real = discriminator.apply(seen, batch["image"], labels, train=False)
        on_fake = discriminator.apply(seen, fake, labels, train=False)
        valid = batch["valid"]
        return {
            "discriminator_loss": mean_over(loss.discriminator(on_real, on_fake), valid),
            "generator_loss": mean_over(loss.generator(on_real, on_fake), valid),
            "discriminator_accuracy": _accuracy(on_real, on_fake, valid),
        }

    def sample(state, key, conditions):
        params = state["ema"] or state["params"]["generator"]
        variables = {"params": params, **state["collections"]["generator"]}
        variables = with_recomputed_statistics(generator, variables, latent_size, classes)
        if isinstance(conditions, int):
            conditions = {
                "latents": draw_latents(key, conditions, latent_size, truncation),
                **({"labels": jnp.arange(conditions) % classes} if classes else {}),
            }
        latents, labels = conditions["latents"], conditions.get("labels")
        images = generate(generator, variables, latents, labels)
        return {"images": images, **({"labels": labels} if classes else {})}

    return Objective(init, step, evaluate, summarize, sample=sample)


def _accuracy(real: Array, fake: Array, valid: Array | None = None) -> Mean:
    """How often a real image has a larger logit than the fake beside it; ties count half. It means
    the same for every loss, where a logit of 0 does not."""
    return mean_over(0.5 * (1.0 + jnp.sign(real - fake)), valid)


def summarize(sums: dict[str, Mean]) -> dict[str, float]:
    """discriminator_loss and generator_loss (as the loss defines them, without penalties),
    discriminator_accuracy (0.5: fakes and real images cannot be told apart), penalty (weighted)."""
    return {name: mean.value() for name, mean in sorted(sums.items())}
