"""Generative adversarial networks: two networks and two optimizers in one pure step."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, UInt8

from jaxmodels.errors import InputError, require_known
from jaxmodels.objectives.adversarial_losses import LOSSES
from jaxmodels.objectives.averaging import update_average
from jaxmodels.objectives.batch_statistics import recomputed_statistics
from jaxmodels.objectives.gradient_penalties import slope_from_one, squared_slope
from jaxmodels.objectives.gradients import accumulate_gradients, gradients_of, split_batch
from jaxmodels.objectives.optimizers import OptimizerConfig, make_optimizer, scheduled_rate
from jaxmodels.ops import AUGMENTATIONS, diff_augment
from jaxmodels.protocol import (
    Hyperparameters,
    Mean,
    Objective,
    example_keys,
    mean_over,
)

PLAYERS = ("generator", "discriminator")


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig(OptimizerConfig):
    """What the two networks play for, and how they take turns."""

    loss: str = "non_saturating"
    """minimax, non_saturating, hinge, least_squares, wasserstein or relativistic (R3GAN)."""
    updates: Literal["alternating", "simultaneous"] = "alternating"
    """alternating: the generator answers the updated discriminator, with fresh fakes; simultaneous:
    both learn from the same forward passes, for fewer operations."""
    critic_steps: int = 1
    """Discriminator updates per step (per generator update), each on a batch of its own."""
    discriminator_learning_rate: float | None = None
    """Peak learning rate of the discriminator; None: that of the generator."""
    gradient_penalty: float = 0.0
    """Weight of (slope - 1)^2 between real images and fakes (WGAN-GP: 10)."""
    r1: float = 0.0
    """Weight gamma of half the squared slope at real images (R1)."""
    r2: float = 0.0
    """Weight gamma of half the squared slope at fakes (R2)."""
    lazy: int = 1
    """Discriminator updates per computation of the three penalties, then that much heavier."""
    consistency: float = 0.0
    """Weight of (D(x) - D(augmented x))^2 at real images (CR-GAN: 10)."""
    consistency_fake: float = 0.0
    """The same at fakes (balanced consistency, bCR-GAN: 10)."""
    diff_augment: tuple[str, ...] = ()
    """Augment what the discriminator sees: any of color, translation, cutout."""
    ema: float = 0.999
    """Decay of the average of the generator's parameters, which samples come from; 0: none."""

    @property
    def penalizes_slope(self) -> bool:
        """Whether a penalty needs the discriminator's gradient at single examples."""
        return bool(self.gradient_penalty or self.r1 or self.r2)

    def validate(self) -> None:
        """Raises InputError for an unknown name or a number out of range."""
        OptimizerConfig.validate(self)
        require_known("loss", self.loss, LOSSES)
        require_known("updates", self.updates, ("alternating", "simultaneous"))
        for name in self.diff_augment:
            require_known("diff_augment", name, AUGMENTATIONS)
        weights = ("gradient_penalty", "r1", "r2", "consistency", "consistency_fake")
        for name in (*weights, "discriminator_learning_rate"):
            if not 0 <= (getattr(self, name) or 0) < float("inf"):
                raise InputError(f"{name} = {getattr(self, name)}; expected a finite number >= 0")
        for name in ("critic_steps", "lazy"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least 1")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema = {self.ema}; expected 0 <= ema < 1")

    def hyperparameters(self) -> Hyperparameters:
        """The numbers of this config that are traced in the state."""
        rate = self.discriminator_learning_rate
        return {
            **OptimizerConfig.hyperparameters(self),
            "discriminator_learning_rate": self.learning_rate if rate is None else rate,
            "gradient_penalty": self.gradient_penalty,
            "r1": self.r1,
            "r2": self.r2,
            "consistency": self.consistency,
            "consistency_fake": self.consistency_fake,
            "ema": self.ema,
        }


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
    `recomputed_statistics`). truncation: latents beyond it are drawn anew (Brock et al. 2019,
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

    def _generate(params, collections, key, labels, count):
        """Fakes for a batch, and the collections they leave behind."""
        latents = draw_latents(key, count, latent_size)
        return _apply(generator, params, collections, latents, labels)

    def _score(params, collections, images, labels, key):
        """Logits of (augmented) images, and the collections they leave behind."""
        if config.diff_augment:
            images = diff_augment(images, example_keys(key, len(images)), config.diff_augment)
        return _apply(discriminator, params, collections, images, labels)

    def step(state, batch, key):
        numbers = state["hyperparameters"]
        parts = split_batch(batch, config.critic_steps)
        last = jax.tree.map(lambda column: column[-1], parts)
        together = config.updates == "simultaneous"

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
            return criticize(state, *index_and_part)

        first = config.critic_steps - 1
        more = []
        if first:
            before = jax.tree.map(lambda column: column[:-1], parts)
            state, sums = jax.lax.scan(one_of_many, state, (jnp.arange(first), before))
            more = [jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), sums)]
        state, sums = criticize(state, first, last, generator_too=together)
        if not together:
            gradients, collections, answer = gradients_of(
                lambda *args: _generator_loss(state["params"]["discriminator"], *args),
                state["params"]["generator"],
                state["collections"],
                last,
                jax.random.fold_in(key, config.critic_steps),
                accumulate,
            )
            state = _update({**state, "collections": collections}, "generator", gradients)
            sums = {**sums, **answer}
        for others in more:
            sums |= {name: jax.tree.map(jnp.add, sums[name], others[name]) for name in others}
        average = state["ema"]
        if config.ema:
            new = state["params"]["generator"]
            average = update_average(average, new, numbers["ema"], state["step"])
        return {**state, "step": state["step"] + 1, "ema": average}, sums

    def _differentiate(params, collections, batch, key, when, numbers, generator_too):
        """Gradients of the discriminator's loss in its parameters and, if asked for, of the
        generator's in its own, by two pullbacks of the same forward passes."""
        real, labels = batch["image"], batch.get("label") if classes else None
        latent_key, real_key, fake_key, penalty_key = jax.random.split(key, 4)
        fake, pull_generator, changed = jax.vjp(
            lambda p: _generate(p, collections["generator"], latent_key, labels, len(real)),
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
        for penalty, more in _penalties(
            params, collections, real, fake, labels, penalty_key, when, numbers
        ):
            gradients["discriminator"] = jax.tree.map(jnp.add, gradients["discriminator"], more)
            sums["penalty"] = penalty
        if generator_too:
            losses, pull_losses = jax.vjp(lambda logits: loss.generator(on_real, logits), on_fake)
            to_fake = pull_losses(mean)[0]
            gradients["generator"] = pull_generator(pull_fake(to_fake)[1])[0]
            sums["generator_loss"] = mean_over(losses)
        return gradients, ({"generator": changed, "discriminator": seen}, sums)

    def _generator_loss(discriminator_params, params, collections, batch, key):
        labels = batch.get("label") if classes else None
        latent_key, real_key, fake_key = jax.random.split(key, 3)
        count = len(batch["image"])
        fake, changed = _generate(params, collections["generator"], latent_key, labels, count)
        seen = collections["discriminator"]
        # Its batch statistics and power iterations stay those that the discriminator's turn left.
        on_fake, _ = _score(discriminator_params, seen, fake, labels, fake_key)
        # Unless the loss compares pairs, nothing depends on these, and they are not computed.
        on_real, _ = _score(discriminator_params, seen, batch["image"], labels, real_key)
        losses = loss.generator(on_real, on_fake)
        sums = {"generator_loss": mean_over(losses)}
        return jnp.mean(losses), ({**collections, "generator": changed}, sums)

    def _penalties(params, collections, real, fake, labels, key, when, numbers):
        """The Mean and the gradient of what is added to the discriminator's loss; none or one."""

        def score(p):
            seen = collections["discriminator"]
            return lambda images: _apply(discriminator, p, seen, images, labels)[0]

        def slope(p):
            total = jnp.zeros(len(real))
            if config.r1:
                total += numbers["r1"] / 2 * squared_slope(score(p), real)
            if config.r2:
                total += numbers["r2"] / 2 * squared_slope(score(p), fake)
            if config.gradient_penalty:
                keys = example_keys(key, len(real))
                total += numbers["gradient_penalty"] * slope_from_one(score(p), real, fake, keys)
            return config.lazy * total

        def consistency(p):
            policy = config.diff_augment or ("translation",)
            total = jnp.zeros(len(real))
            for number, (name, images) in enumerate(
                (("consistency", real), ("consistency_fake", fake))
            ):
                if getattr(config, name):
                    keys = example_keys(jax.random.fold_in(key, number), len(real))
                    difference = score(p)(images) - score(p)(diff_augment(images, keys, policy))
                    total += numbers[name] * jnp.square(difference)
            return total

        def differentiated(term):
            def mean(p):
                values = term(p)
                return jnp.mean(values), mean_over(values)

            return lambda: jax.grad(mean, has_aux=True)(params["discriminator"])

        found = []
        if config.penalizes_slope:
            compute = differentiated(slope)
            if config.lazy > 1:
                nothing = jax.tree.map(
                    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(compute)
                )
                nothing[1] = Mean(jnp.float32(0), jnp.int32(len(real)))
                found.append(jax.lax.cond(when % config.lazy == 0, compute, lambda: nothing))
            else:
                found.append(compute())
        if config.consistency or config.consistency_fake:
            found.append(differentiated(consistency)())
        if not found:
            return []
        gradients = found[0][0]
        penalty = found[0][1]
        for more, value in found[1:]:
            gradients = jax.tree.map(jnp.add, gradients, more)
            penalty = Mean(penalty.total + value.total, penalty.count)
        return [(penalty, gradients)]

    def evaluate(state, batch, key):
        labels = batch.get("label") if classes else None
        seen = {"params": state["params"]["discriminator"], **state["collections"]["discriminator"]}
        latents = draw_latents(key, len(batch["image"]), latent_size)
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
        if "batch_stats" in variables:
            variables["batch_stats"] = recomputed_statistics(
                generator, variables, latent_size, classes
            )
        if isinstance(conditions, int):
            conditions = {
                "latents": draw_latents(key, conditions, latent_size, truncation),
                **({"labels": jnp.arange(conditions) % classes} if classes else {}),
            }
        latents, labels = conditions["latents"], conditions.get("labels")
        images = _in_chunks(
            lambda z, y: to_uint8(generator.apply(variables, z, y, train=False)), latents, labels
        )
        return {"images": images, **({"labels": labels} if classes else {})}

    return Objective(init, step, evaluate, summarize, sample=sample)


def draw_latents(
    key: Key[Array, ""], count: int, size: int, truncation: float = 0.0
) -> Float[Array, "count size"]:
    """Standard normal numbers, keyed per example; those beyond `truncation` (if not 0) redrawn."""

    def draw(key):
        if truncation:
            return jax.random.truncated_normal(key, -truncation, truncation, (size,))
        return jax.random.normal(key, (size,))

    return jax.vmap(draw)(example_keys(key, count))


def to_uint8(images: Float[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """From -1..1 to 0..255."""
    return jnp.round((images.clip(-1, 1) + 1) * 127.5).astype(jnp.uint8)


def _in_chunks(function, latents: Array, labels: Int[Array, " count"] | None, size: int = 500):
    """function(latents, labels) over at most `size` examples at a time, to bound memory."""
    count = len(latents)
    if count <= size:
        return function(latents, labels)
    chunks = -(-count // size)

    def split(column):
        padding = [(0, chunks * size - count)] + [(0, 0)] * (column.ndim - 1)
        return jnp.pad(column, padding).reshape(chunks, size, *column.shape[1:])

    pairs = jax.tree.map(split, (latents, labels))
    out = jax.lax.map(lambda pair: function(*pair), pairs)
    return out.reshape(-1, *out.shape[2:])[:count]


def _accuracy(real: Array, fake: Array, valid: Array | None = None) -> Mean:
    """How often a real image has a larger logit than the fake beside it; ties count half. It means
    the same for every loss, where a logit of 0 does not."""
    return mean_over(0.5 * (1.0 + jnp.sign(real - fake)), valid)


def summarize(sums: dict[str, Mean]) -> dict[str, float]:
    """discriminator_loss and generator_loss (as the loss defines them, without penalties),
    discriminator_accuracy (0.5: fakes and real images cannot be told apart), penalty (weighted)."""
    return {name: mean.value() for name, mean in sorted(sums.items())}
