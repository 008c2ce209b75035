"""The vocoder's game against its definition, with small networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.errors import InputError
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.vocoding import SCORES, Vocoding, VocodingConfig
from jaxmodels.ops.spectral import Mel, log_mel
from tests.ops.compiling import quick_jit

MEL = Mel(rate=4000, window=32, hop=8, bands=4)
RATE, CRITIC_RATE = 0.1, 0.3
RULE = OptimizerConfig(optimizer="sgd", learning_rate=RATE, schedule="constant")


class Maker(nn.Module):
    """A hop of samples from each frame."""

    @nn.compact
    def __call__(self, features, samples):
        x = nn.Dense(MEL.hop)(features)
        return 0.1 * x.reshape(len(x), -1)[:, :samples]


class Hearers(nn.Module):
    """Two discriminators, of all samples and of every second one."""

    @nn.compact
    def __call__(self, sound):
        found = []
        for step in (1, 2):
            seen = jnp.tanh(nn.Dense(3)(sound[:, ::step].reshape(len(sound), -1, 4)))
            found.append((nn.Dense(1)(seen)[..., 0], [seen, seen**2]))
        return found


def objective(accumulate=1, **flags):
    flags = {"loss": "least_squares", "ema": 0.0, **flags}
    config = VocodingConfig(discriminator_learning_rate=CRITIC_RATE, **flags)
    return Vocoding(Maker(), Hearers(), MEL, config, RULE, 10, accumulate)


def batch(size=4):
    sound = jnp.asarray(np.random.default_rng(0).normal(0, 0.3, (size, 64)), jnp.float32)
    length = jnp.array([64, 64, 40, 20] * (size // 4), jnp.int32)
    return {"sound": jnp.where(jnp.arange(64) < length[:, None], sound, 0), "length": length}


def started(vocoding):
    spec = jax.eval_shape(batch)
    return vocoding.init(jax.random.key(0), spec, vocoding.hyperparameters)


@pytest.mark.slow
def test_a_step_is_the_gradient_step_of_both_losses():
    vocoding, data = objective(mel_weight=3.0, feature_weight=2.0), batch()
    state = started(vocoding)
    after, sums = quick_jit(vocoding.step)(state, data, jax.random.key(1))
    before = state["params"]
    features = log_mel(data["sound"], MEL)

    def made(params):
        sound = Maker().apply({"params": params}, features, 64)
        return jnp.where(jnp.arange(64) < data["length"][:, None], sound, 0)

    def critic(params):
        total = 0.0
        real, fake = (
            Hearers().apply({"params": params}, sound)
            for sound in (data["sound"], made(before["generator"]))
        )
        for (on_real, _), (on_fake, _) in zip(real, fake):
            total += jnp.mean(0.5 * (on_real - 1) ** 2 + 0.5 * on_fake**2) / 2
        return total

    loss, gradient = jax.value_and_grad(critic)(before["discriminator"])
    expected = jax.tree.map(lambda p, g: p - CRITIC_RATE * g, before["discriminator"], gradient)
    close(after["params"]["discriminator"], expected)
    np.testing.assert_allclose(sums["discriminator_loss"].value(), loss, rtol=1e-5)

    def maker(params):
        heard = Hearers().apply({"params": expected}, data["sound"])
        total = 0.0
        for (_, seen), (on_fake, other) in zip(
            heard, Hearers().apply({"params": expected}, made(params))
        ):
            total += jnp.mean(0.5 * (on_fake - 1) ** 2) / 2
            total += 2.0 * sum(jnp.mean(jnp.abs(a - b)) for a, b in zip(seen, other)) / 2
        difference = jnp.abs(features - log_mel(made(params), MEL)).mean(-1)
        frames = [9, 9, 6, 3]
        each = [row[:count].mean() for row, count in zip(difference, frames)]
        return total + 3.0 * sum(each) / 4

    loss, gradient = jax.value_and_grad(maker)(before["generator"])
    expected = jax.tree.map(lambda p, g: p - RATE * g, before["generator"], gradient)
    close(after["params"]["generator"], expected)
    np.testing.assert_allclose(sums["generator_loss"].value(), loss, rtol=1e-5)
    assert after["step"] == 1 and set(sums) < set(SCORES)


class Fixed(nn.Module):
    """The same sound for all spectrograms."""

    @nn.compact
    def __call__(self, features, samples):
        sound = self.param("sound", nn.initializers.normal(), (samples,))
        return jnp.broadcast_to(sound, (len(features), samples))


@pytest.mark.slow
def test_what_is_made_behind_a_recording_alters_no_loss():
    vocoding, key = dataclasses.replace(objective(), generator=Fixed()), jax.random.key(0)
    data = {name: values[3:] for name, values in batch().items()}  # 20 of 64 samples
    state = started(vocoding)
    own, others = state["params"]["generator"], state["params"]["discriminator"]
    quiet, loud = ({"sound": own["sound"].at[20:].set(level)} for level in (0.0, 0.7))
    assert not data["sound"][0, 20:].any()
    for one, other in (
        [vocoding.discriminator_loss(made, others, {}, data, key)[0] for made in (quiet, loud)],
        [
            vocoding.generator_loss(others, state["hyperparameters"], made, {}, data, key)[0]
            for made in (quiet, loud)
        ],
    ):
        assert one.value() == other.value()
    valid = {**data, "valid": jnp.ones(1, bool)}
    sums = [vocoding.distances(made["sound"][None], valid) for made in (quiet, loud)]
    assert sums[0]["mel_distance"].total == sums[1]["mel_distance"].total


def close(tree, expected):
    for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_parts_of_a_batch_give_what_the_whole_gives():
    key = jax.random.key(1)
    states = [
        quick_jit(some.step)(started(some), batch(8), key)[0]
        for some in (objective(), objective(accumulate=2))
    ]
    close(states[0]["params"], states[1]["params"])


@pytest.mark.slow
def test_an_evaluation_weighs_frames_and_leaves_out_what_is_not_valid():
    vocoding, data = objective(ema=0.5), batch()
    state, key = started(vocoding), jax.random.key(0)
    valid = jnp.array([True, True, False, True])
    sums = vocoding.evaluate(state, {**data, "valid": valid}, key)
    assert sums["mel_distance"].count == 9 + 9 + 3 and sums["spectral_distance"].count == 3
    each = [
        vocoding.evaluate(state, {**data, "valid": jnp.arange(4) == row}, key) for row in range(4)
    ]
    for name in ("mel_distance", "spectral_distance"):
        parts = sum(each[row][name].total for row in (0, 1, 3))
        np.testing.assert_allclose(sums[name].total, parts, rtol=1e-5)
    recording = vocoding.distances(data["sound"], {**data, "valid": valid})
    assert all(mean.value() == 0 for mean in recording.values())


def test_the_average_is_what_is_evaluated_and_learned_from():
    vocoding, data = objective(ema=0.5), {**batch(), "valid": jnp.ones(4, bool)}
    state, key = started(vocoding), jax.random.key(0)
    other = jax.tree.map(lambda leaf: leaf + 0.1, state["params"]["generator"])
    moved = {**state, "params": {**state["params"], "generator": other}}
    still = vocoding.evaluate(state, data, key)["mel_distance"].total
    assert vocoding.evaluate(moved, data, key)["mel_distance"].total == still
    learned = vocoding.learned(moved)
    again = vocoding.with_learned(state, learned)
    close(again["params"]["generator"], state["ema"])
    close(vocoding.learned(again), learned)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"loss": "wasserstein"}, "unknown loss 'wasserstein'. Known: hinge"),
        ({"mel_weight": -1.0}, "mel_weight = -1.0; expected a finite number >= 0"),
        ({"ema": 1.0}, "ema = 1.0; expected 0 <= ema < 1"),
    ],
)
def test_bad_numbers_and_names(flags, message):
    with pytest.raises(InputError, match=message):
        VocodingConfig(**flags).validate()
