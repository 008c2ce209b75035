"""The GAN's step: whose gradient is applied where, in which order, and what is left alone."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxmodels.data import Resident
from jaxmodels.errors import InputError
from jaxmodels.objectives.adversarial_config import AdversarialConfig
from jaxmodels.objectives.adversarial_losses import LOSSES
from jaxmodels.objectives.gan import GAN
from jaxmodels.objectives.generation import draw_latents, to_uint8
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import Objective, example_keys
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram
from tests.marks import slow, slow_but
from tests.objectives.gan_toys import ToyDiscriminator, ToyGenerator, images, program, toy_gan

SGD = {"optimizer": "sgd", "learning_rate": 0.1, "discriminator_learning_rate": 0.3}
KEY = jax.random.key(7)


def _batch(count=16):
    return jax.tree.map(lambda column: jnp.asarray(column[:count]), images())


def _start(objective, count=16):
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), _batch(count))
    return objective.init(jax.random.key(0), spec, objective.hyperparameters)


def _on_devices(state, batch, devices=8):
    """What pmap takes: a copy of the state and a share of the batch for each device."""
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * devices), state)
    return copies, jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), batch)


def _close(tree, other, **tolerance):
    tolerance = {"rtol": 1e-5, "atol": 1e-6, **tolerance}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), tree, other)


def _latents_of(objective, key, count):
    """The latents of the critic's updates and of the generator's, as documented."""
    critic_steps = objective.config.critic_steps
    of_critic = [objective.training_latents(key, turn, count) for turn in range(critic_steps)]
    if objective.config.updates != "alternating":
        return of_critic, of_critic[-1]
    return of_critic, objective.training_latents(key, critic_steps, count)


@pytest.mark.parametrize(
    "name, updates",
    [slow(name, updates) for name in LOSSES for updates in ("alternating", "simultaneous")]
    + [("non_saturating", "shared"), ("hinge", "alternating"), ("wasserstein", "simultaneous")],
)
def test_a_step_is_the_gradient_step_of_both_losses(name, updates):
    """By plain jax.grad of the two losses, written down here."""
    objective = toy_gan(loss=name, updates=updates, ema=0.0, **SGD)
    state, batch = _start(objective), _batch()
    after, sums = jax.jit(objective.step)(state, batch, KEY)
    (latents,), answer = _latents_of(objective, KEY, 16)
    start = state["params"]

    def logits(generator, discriminator, latents):
        fake = ToyGenerator().apply({"params": generator}, latents)
        score = lambda x: ToyDiscriminator().apply({"params": discriminator}, x)  # noqa: E731
        return score(batch["image"]), score(fake)

    def mean(function, latents):
        return lambda g, d: jnp.mean(function(*logits(g, d, latents)))

    loss, down = jax.value_and_grad(mean(LOSSES[name].discriminator, latents), 1)(
        start["generator"], start["discriminator"]
    )
    critic = jax.tree.map(lambda p, g: p - 0.3 * g, start["discriminator"], down)
    _close(after["params"]["discriminator"], critic)
    _close(sums["discriminator_loss"].value(), float(loss))
    against = start["discriminator"] if updates == "simultaneous" else critic
    loss, down = jax.value_and_grad(mean(LOSSES[name].generator, answer), 0)(
        start["generator"], against
    )
    generator = jax.tree.map(lambda p, g: p - 0.1 * g, start["generator"], down)
    _close(after["params"]["generator"], generator)
    _close(sums["generator_loss"].value(), float(loss))
    assert after["step"] == 1
    real, fake = logits(start["generator"], start["discriminator"], latents)
    _close(sums["discriminator_accuracy"].value(), np.mean(real > fake))


def test_updates_that_share_passes_run_fewer():
    """Read in the optimised program: one product with the hidden kernel of each pass. In a loop,
    as the engine has it, where XLA finds less."""
    counts = {}
    for updates in ("simultaneous", "shared", "alternating"):
        objective = toy_gan(updates=updates, ema=0.0, **SGD)
        state, batch = _start(objective), _batch()

        def steps(state, count, step=objective.step, batch=batch):
            one = lambda at, state: step(state, batch, jax.random.fold_in(KEY, at))[0]  # noqa: E731
            return jax.lax.fori_loop(0, count, one, state)

        text = jax.jit(steps).lower(state, 3).compile().as_text()
        counts[updates] = len(re.findall(r" dot\(", text))
    assert counts["simultaneous"] < counts["shared"] < counts["alternating"]


@pytest.mark.slow
def test_critic_steps_split_the_batch_and_update_in_turn():
    objective = toy_gan(critic_steps=3, ema=0.0, **SGD)
    state, batch = _start(objective, 24), _batch(24)
    after, sums = jax.jit(objective.step)(state, batch, KEY)
    latents, answer = _latents_of(objective, KEY, 8)
    critic, generator = state["params"]["discriminator"], state["params"]["generator"]
    loss = LOSSES["non_saturating"]

    def score(params, x):
        return ToyDiscriminator().apply({"params": params}, x)

    for number in range(3):
        real = batch["image"][number::3]
        fake = ToyGenerator().apply({"params": generator}, latents[number])
        down = jax.grad(
            lambda p, real=real, fake=fake: jnp.mean(
                loss.discriminator(score(p, real), score(p, fake))
            )
        )(critic)
        critic = jax.tree.map(lambda p, g: p - 0.3 * g, critic, down)
    _close(after["params"]["discriminator"], critic)
    down = jax.grad(
        lambda g: jnp.mean(
            loss.generator(0.0, score(critic, ToyGenerator().apply({"params": g}, answer)))
        )
    )(generator)
    _close(after["params"]["generator"], jax.tree.map(lambda p, g: p - 0.1 * g, generator, down))
    assert sums["discriminator_loss"].count == 24
    assert sums["generator_loss"].count == 8


@pytest.mark.slow
@pytest.mark.parametrize("updates", ["alternating", "shared", "simultaneous"])
def test_accumulation_runs_and_counts_every_image_once(updates):
    objective = toy_gan(updates=updates, accumulate=4, critic_steps=2, r1=1.0)
    after, sums = jax.jit(objective.step)(_start(objective, 32), _batch(32), KEY)
    assert sums["discriminator_loss"].count == 32
    assert sums["penalty"].count == 32
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(after["params"]))


# Without BatchNorm and spectral normalisation, whose statistics are those of a part, and without
# augmentation, whose noise is drawn per part.
ALIKE_IN_PARTS = [
    {"r1": 1.0, "r2": 0.5},
    {"updates": "shared", "loss": "relativistic"},
    {"updates": "simultaneous", "loss": "hinge", "critic_steps": 2, "classes": 3},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", ALIKE_IN_PARTS, ids=lambda flags: flags.get("updates", "alternating")
)
def test_accumulation_gives_what_the_whole_batch_gives(flags):
    flags, results = {"ema": 0.0, **SGD, **flags}, []
    for parts in (1, 4):
        objective = toy_gan(accumulate=parts, **flags)
        results.append(jax.jit(objective.step)(_start(objective, 32), _batch(32), KEY))
    (whole, sums), (accumulated, accumulated_sums) = results
    _close(accumulated["params"], whole["params"])
    _close(accumulated_sums, sums)


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")
@pytest.mark.parametrize(
    "flags", ALIKE_IN_PARTS, ids=lambda flags: flags.get("updates", "alternating")
)
def test_accumulation_under_pmap_gives_what_the_whole_batch_gives(flags):
    flags = {"ema": 0.0, **SGD, **flags}
    objective, in_parts = toy_gan(**flags), toy_gan(accumulate=2, **flags)
    count = 16 * objective.config.critic_steps
    state, batch = _start(objective, count), _batch(count)
    whole, sums = jax.jit(objective.step)(state, batch, KEY)
    copies, shares = _on_devices(state, batch)
    step = jax.pmap(in_parts.step, "data", in_axes=(0, 0, None))
    copies, parts = step(copies, shares, KEY)
    of_one = jax.tree.map(lambda leaf: leaf[5], copies)
    _close(of_one["params"], whole["params"])
    _close(jax.tree.map(lambda leaf: jnp.sum(leaf, 0), parts), sums)


@pytest.mark.parametrize("rate", [None, 0.7])
def test_hyperparameters_are_those_of_both_configs(rate):
    objective = toy_gan(
        learning_rate=0.5, weight_decay=0.1, r1=2.0, discriminator_learning_rate=rate
    )
    numbers = objective.hyperparameters
    assert numbers.keys() >= objective.optimizer.hyperparameters().keys()
    assert numbers["discriminator_learning_rate"] == (rate or 0.5)
    assert (numbers["learning_rate"], numbers["weight_decay"], numbers["r1"]) == (0.5, 0.1, 2.0)
    traced = _start(objective)["hyperparameters"]
    assert traced.keys() == numbers.keys()
    assert all(traced[name] == np.float32(value) for name, value in numbers.items())


def test_its_methods_are_an_objective_and_every_score_is_declared():
    objective = toy_gan(r1=1.0)
    protocol = Objective.of(objective)
    state, batch = _start(objective), _batch()
    _, sums = jax.eval_shape(protocol.step, state, batch, KEY)
    assert sums.keys() == GAN.scores.keys()
    evaluated = {**batch, "valid": jnp.arange(16) < 11, "position": jnp.arange(16)}
    sums = jax.jit(protocol.evaluate)(state, evaluated, KEY)
    assert all(mean.count == 11 for mean in sums.values())
    assert protocol.summarize(sums).keys() == GAN.scores.keys() - {"penalty"}
    assert protocol.sample is not None
    assert protocol.hyperparameters == objective.hyperparameters


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, weight",
    [
        ({"r1": 3.0}, "r1"),
        ({"r2": 3.0}, "r2"),
        ({"gradient_penalty": 10.0}, "gradient_penalty"),
        ({"consistency": 10.0}, "consistency"),
        ({"consistency_fake": 10.0}, "consistency_fake"),
    ],
)
def test_penalties_are_linear_in_their_traced_weight(flags, weight):
    objective = toy_gan(ema=0.0, **SGD, **flags)
    state, batch = _start(objective), _batch()
    step = jax.jit(objective.step)

    def moved(factor):
        numbers = {**state["hyperparameters"], weight: jnp.float32(factor * flags[weight])}
        after, sums = step({**state, "hyperparameters": numbers}, batch, KEY)
        return after["params"]["discriminator"], sums["penalty"].value()

    (none, nothing), (once, penalty), (twice, double) = moved(0), moved(1), moved(2)
    assert nothing == 0
    assert penalty > 0
    assert double == pytest.approx(2 * penalty, rel=1e-5)
    for a, b, c in zip(*map(jax.tree.leaves, (none, once, twice)), strict=True):
        np.testing.assert_allclose(c - a, 2 * (b - a), rtol=1e-2, atol=1e-6)
    plain = toy_gan(ema=0.0, **SGD)
    _close(none, jax.jit(plain.step)(state, batch, KEY)[0]["params"]["discriminator"])
    assert any(not np.allclose(a, b) for a, b in zip(*map(jax.tree.leaves, (none, once))))


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but("hinge", LOSSES))
def test_any_loss_goes_with_all_regularisers_at_once(name):
    penalties = {"r1": 0.5, "r2": 0.5, "gradient_penalty": 1.0, "lazy": 2}
    consistency = {"consistency": 1.0, "consistency_fake": 1.0}
    objective = toy_gan(
        loss=name, norm="spectral", diff_augment=("translation",), **penalties, **consistency
    )
    step, state = jax.jit(objective.step), _start(objective)
    for number in range(3):
        state, sums = step(state, _batch(), jax.random.fold_in(KEY, number))
        assert sums["penalty"].value() > 0
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((state, sums)))


@pytest.mark.slow
def test_lazy_penalties_come_every_so_many_updates_and_weigh_as_much():
    penalties = {}
    for lazy in (1, 3):
        objective = toy_gan(r1=1.0, lazy=lazy, critic_steps=2, ema=0.0, **SGD)
        step, found = jax.jit(objective.step), []
        for number in range(3):
            state = {**_start(objective, 32), "step": jnp.int32(number)}
            found.append(float(step(state, _batch(32), KEY)[1]["penalty"].total))
        penalties[lazy] = found
    # Updates 0 and 3 of 0..5: the first of step 0, the second of step 1.
    assert penalties[3][0] > 0
    assert penalties[3][1] > 0
    assert penalties[3][2] == 0
    assert all(value > 0 for value in penalties[1])
    objective = toy_gan(r1=3.0, lazy=1, ema=0.0, **SGD)
    heavy = jax.jit(objective.step)(_start(objective), _batch(), KEY)[0]["params"]
    objective = toy_gan(r1=1.0, lazy=3, ema=0.0, **SGD)
    once = jax.jit(objective.step)(_start(objective), _batch(), KEY)[0]["params"]
    _close(heavy["discriminator"], once["discriminator"])


def test_diff_augment_is_what_the_discriminator_sees():
    objective = toy_gan(diff_augment=("cutout", "color"), ema=0.0, **SGD)
    plain = toy_gan(ema=0.0, **SGD)
    state = _start(objective)
    a = jax.jit(objective.step)(state, _batch(), KEY)[0]["params"]
    b = jax.jit(plain.step)(state, _batch(), KEY)[0]["params"]
    for player in ("discriminator", "generator"):
        pairs = zip(*map(jax.tree.leaves, (a[player], b[player])), strict=True)
        assert any(not np.allclose(*pair) for pair in pairs)


@pytest.mark.parametrize("flags", [{"r1": 1.0}, {"r2": 1.0}, {"gradient_penalty": 1.0}])
def test_slope_penalties_through_batch_norm_are_refused_with_the_fix(flags):
    objective = toy_gan(norm="batch", **flags)
    with pytest.raises(InputError, match=r"BatchNorm.*--norm"):
        _start(objective)


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"loss": "hinges"}, "did you mean 'hinge'"),
        ({"diff_augment": ("colour",)}, "did you mean 'color'"),
        ({"r1": -1.0}, "r1 = -1"),
        ({"gradient_penalty": float("nan")}, "gradient_penalty = nan"),
        ({"critic_steps": 0}, "critic_steps = 0"),
        ({"lazy": 0}, "lazy = 0"),
        ({"ema": 1.0}, "ema = 1"),
        ({"updates": "together"}, "unknown updates"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_numbers_and_names(flags, message):
    with pytest.raises(InputError, match=message):
        AdversarialConfig(**flags).validate()


@pytest.mark.slow
def test_average_and_its_batch_statistics():
    """Samples come from the average of the parameters, normalised by statistics of its own."""
    objective = toy_gan(batch_norm=True, ema=0.9, learning_rate=0.05)
    run = program(objective)
    state, _ = run.advance(run.create(), run.zeros(), 0, 20)
    latents = jax.random.normal(jax.random.key(5), (4000, 5))
    found = jax.jit(lambda s: objective.sample(s, KEY, {"latents": latents}))(state)["images"]
    assert found.dtype == jnp.uint8

    def direct(params):
        """What training mode makes of so large a batch."""
        stats = state["collections"]["generator"]
        made, _ = ToyGenerator(batch_norm=True).apply(
            {"params": params, **stats}, latents, train=True, mutable=["batch_stats"]
        )
        return np.asarray(to_uint8(made), np.float32)

    error = np.abs(direct(state["ema"]) - found).mean()
    assert error < 2.5
    assert np.abs(direct(state["params"]["generator"]) - found).mean() > 2 * error
    running = {"params": state["ema"], **state["collections"]["generator"]}
    stale = to_uint8(ToyGenerator(batch_norm=True).apply(running, latents, train=False))
    assert np.abs(direct(state["ema"]) - stale).mean() > 2 * error


@pytest.mark.slow
def test_samples():
    objective = toy_gan(classes=3, batch_norm=True)
    run = program(objective)
    state, _ = run.advance(run.create(), run.zeros(), 0, 3)
    drawn = jax.jit(objective.sample, static_argnums=2)(state, KEY, 1100)  # in chunks of 500
    assert drawn["images"].shape == (1100, 4, 4, 1)
    np.testing.assert_array_equal(drawn["labels"], np.arange(1100) % 3)
    latents = draw_latents(KEY, 1100, 5)
    labels = jnp.arange(1100) % 3
    again = objective.sample(state, KEY, {"latents": latents[1000:], "labels": labels[1000:]})[
        "images"
    ]
    difference = np.abs(np.asarray(drawn["images"][1000:], int) - np.asarray(again, int))
    assert difference.max() <= 1
    assert np.asarray(drawn["images"]).std(0).mean() > 3


def test_truncated_latents():
    latents = draw_latents(KEY, 500, 20, truncation=0.7)
    assert jnp.max(jnp.abs(latents)) <= 0.7
    assert jnp.max(jnp.abs(latents)) > 0.68
    assert jnp.max(jnp.abs(draw_latents(KEY, 500, 20))) > 3


@pytest.mark.slow
def test_a_minimax_gan_finds_both_modes_of_a_mixture():
    """Half of the samples around -1 and half around 1, as the data; R1 keeps minimax stable."""

    class Player(nn.Module):
        outputs: tuple[int, ...]

        @nn.compact
        def __call__(self, x, labels=None, *, train=False):
            x = x.reshape(len(x), -1)
            for _ in range(2):
                x = jnp.tanh(nn.Dense(64)(x))
            return nn.Dense(1)(x).reshape(-1, *self.outputs)

    generator = np.random.default_rng(0)
    data = np.sign(generator.normal(size=4096)) + 0.1 * generator.normal(size=4096)
    config = AdversarialConfig(loss="minimax", r1=0.1, ema=0.99)
    optimizer = OptimizerConfig(learning_rate=2e-3, momentum=0.0, second_momentum=0.99)
    steps = 3000
    objective = GAN(Player((1, 1, 1)), Player(()), config, optimizer, steps, latent_size=4)
    source = Resident({"image": data.astype(np.float32)[:, None, None, None]})
    run = TrainProgram(objective, source, 128, steps, 0, make_mesh("data=1"))
    state, _ = run.advance(run.create(), run.zeros(), 0, steps)
    latents = draw_latents(KEY, 4000, 4)
    x = np.ravel(Player((1, 1, 1)).apply({"params": state["ema"]}, latents))
    assert 0.4 < np.mean(x > 0) < 0.6
    assert np.mean(np.abs(np.abs(x) - 1) < 0.3) > 0.9
    assert 0.04 < np.std(x[x > 0]) < 0.25
    # The equilibrium: the discriminator knows nothing, its loss is 2 log 2.
    sums = jax.jit(objective.evaluate)(
        state,
        {
            "image": source.arrays["image"][:1000],
            "valid": np.ones(1000, bool),
            "position": np.arange(1000),
        },
        KEY,
    )
    assert objective.summarize(sums)["discriminator_loss"] == pytest.approx(2 * np.log(2), abs=0.1)


EVERYTHING = [
    {"batch_norm": True, "norm": "batch", "critic_steps": 2, "consistency": 0.01},
    {"batch_norm": True, "norm": "spectral", "loss": "hinge", "updates": "simultaneous"},
    {
        "loss": "relativistic",
        "r1": 0.5,
        "r2": 0.5,
        "lazy": 2,
        "diff_augment": ("color", "translation", "cutout"),
        "classes": 3,
        "batch_norm": True,
    },
    {"loss": "wasserstein", "gradient_penalty": 1.0, "critic_steps": 3, "updates": "simultaneous"},
]
IDS = ["batch norm", "spectral", "relativistic", "wasserstein"]


@pytest.mark.slow
@pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")
@pytest.mark.parametrize("flags", slow_but(EVERYTHING[0], EVERYTHING), ids=IDS)
def test_eight_devices_give_what_one_gives(flags):
    """SGD: Adam would amplify the noise of gradients that are zero in truth. A game doubles it at
    every step, so there are few."""
    results = []
    for devices in (1, 8):
        objective = toy_gan(**{**SGD, "ema": 0.9, **flags})
        run = program(objective, devices=devices)
        results.append(run.advance(run.create(), run.zeros(), 0, 8))
    _close(*results, rtol=1e-3, atol=5e-5)


@pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")
@pytest.mark.parametrize("flags", list(map(slow, EVERYTHING)), ids=IDS)
def test_pmap_gives_what_jit_gives(flags):
    """The step itself under pmap: gradients and batch statistics are averaged over the devices."""
    objective = toy_gan(**{**SGD, "ema": 0.9, **flags})
    count = 16 * objective.config.critic_steps
    state, batch = _start(objective, count), _batch(count)
    jitted, mapped = jax.jit(objective.step), jax.pmap(objective.step, "data", in_axes=(0, 0, None))
    copies, shares = _on_devices(state, batch)
    for number in range(5):
        key = jax.random.fold_in(KEY, number)
        state, sums = jitted(state, batch, key)
        copies, parts = mapped(copies, shares, key)
        _close(sums, jax.tree.map(lambda leaf: jnp.sum(leaf, 0), parts), rtol=1e-3, atol=1e-4)
    for device in (0, 7):
        of_device = jax.tree.map(lambda leaf, device=device: leaf[device], copies)
        _close(state, of_device, rtol=1e-3, atol=2e-5)


def test_noise_is_keyed_by_the_position_in_the_batch():
    whole = draw_latents(KEY, 8, 5)
    keys = example_keys(KEY, jnp.arange(8))
    np.testing.assert_array_equal(whole[3], jax.random.normal(keys[3], (5,)))


@pytest.mark.slow
def test_each_network_has_its_own_optimizer_and_rate():
    objective = toy_gan(optimizer="adam", learning_rate=1e-3, ema=0.0,
                                discriminator_learning_rate=4e-3)  # fmt: skip
    state = _start(objective)
    after, _ = jax.jit(objective.step)(state, _batch(), KEY)
    for player, rate in (("generator", 1e-3), ("discriminator", 4e-3)):
        moved = jax.tree.map(jnp.subtract, after["params"][player], state["params"][player])
        # Adam's first update has the size of its rate, for every parameter that has a gradient.
        assert optax.tree.max(jax.tree.map(jnp.abs, moved)) == pytest.approx(rate, rel=1e-2)
