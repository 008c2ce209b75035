"""Flow matching against its definition, on models whose velocity is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmodels.models.flow_speech import FlowSpeech, FlowSpeechConfig, Spoken
from jaxmodels.objectives.flow_matching import FlowMatching, normal_frames
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.protocol import example_keys
from tests.ops.compiling import quick_jit

FRAMES, BANDS = 6, 3
RULE = OptimizerConfig(optimizer="sgd", learning_rate=0.1, schedule="constant")


class Towards(nn.Module):
    """The velocity of the flow whose data are one point: from where it is straight to that."""

    point: float
    frames: int = 4

    def setup(self):
        self.unused = self.param("unused", nn.initializers.zeros, ())

    def __call__(self, noisy, time, spoken, count):
        return self.velocity(noisy, time, spoken, count), self.duration(spoken)

    def velocity(self, noisy, time, spoken, count):
        return (self.point - noisy) / (1 - time)[:, None, None] + self.unused

    def duration(self, spoken):
        return jnp.full(len(spoken.speaker), jnp.log(self.frames)) + self.unused


def batch(size=5, point=2.0):
    spoken = Spoken(jnp.ones((size, 2), jnp.int32), jnp.zeros(size, jnp.int32))
    features = jnp.full((size, FRAMES, BANDS), point)
    return {"features": features, "count": jnp.full(size, 4, jnp.int32), "spoken": spoken}


def test_the_true_velocity_has_no_loss_and_leads_from_noise_to_data():
    flow = FlowMatching(Towards(2.0), RULE, steps=1, integration=64)
    key = jax.random.key(0)
    state = flow.init(key, jax.eval_shape(lambda: batch()), flow.hyperparameters)
    scores = flow.summarize(flow.evaluate(state, batch(), key))
    np.testing.assert_allclose(list(scores.values()), 0, atol=1e-5)
    keys = example_keys(key, jnp.arange(5))
    made, count = quick_jit(
        lambda keys: flow.generate(state, batch()["spoken"], normal_frames(keys, (FRAMES, BANDS)))
    )(keys)
    assert count.tolist() == [4] * 5
    np.testing.assert_allclose(made, 2, atol=0.05)


def test_an_example_counts_as_one_whatever_its_length_and_what_fills_up_does_not():
    flow = FlowMatching(Towards(2.0), RULE, steps=1)
    key = jax.random.key(0)
    state = flow.init(key, jax.eval_shape(lambda: batch()), flow.hyperparameters)
    given = batch()
    given["features"] = given["features"].at[:, 4:].set(77.0)
    assert flow.summarize(flow.evaluate(state, given, key))["velocity"] < 1e-5
    given["count"] = jnp.array([4, 4, 4, 4, 2])
    found = flow.summarize(flow.evaluate(state, given, key))
    assert found["duration"] == pytest.approx(np.log(2) ** 2 / 5, rel=1e-4)
    valid = jnp.arange(5) < 4
    assert flow.summarize(flow.evaluate(state, {**given, "valid": valid}, key))["duration"] < 1e-9


def test_noise_depends_on_the_position_alone():
    flow = FlowMatching(Towards(0.0), RULE, steps=1)
    key = jax.random.key(0)
    state = flow.init(key, jax.eval_shape(lambda: batch()), flow.hyperparameters)
    one = {name: jax.tree.map(lambda leaf: leaf[:1], value) for name, value in batch().items()}
    each = [
        float(flow.evaluate(state, {**one, "position": jnp.array([row])}, key)["velocity"].total)
        for row in range(5)
    ]
    whole = flow.evaluate(state, {**batch(), "position": jnp.arange(5)}, key)["velocity"]
    assert sum(each) == pytest.approx(float(whole.total), rel=1e-4) and len(set(each)) == 5


@pytest.mark.campaign
@pytest.mark.slow
def test_the_network_learns_two_words_of_two_voices():
    generator = np.random.default_rng(0)
    tokens, voices = jnp.array([[1, 2], [2, 0]] * 2), jnp.array([0, 0, 1, 1])
    features = np.repeat(generator.normal(size=(4, 1, BANDS)), FRAMES, axis=1)
    count = jnp.array([6, 3, 5, 2])
    given = {
        "features": jnp.asarray(features, jnp.float32),
        "count": count,
        "spoken": Spoken(tokens, voices),
    }
    rule = OptimizerConfig(optimizer="adam", learning_rate=5e-3, schedule="constant")
    flow = FlowMatching(FlowSpeechConfig(width=32, depth=1).create(2, 2, BANDS), rule, steps=1)
    key = jax.random.key(0)
    many = {
        n: jax.tree.map(lambda leaf: jnp.tile(leaf, (16, *[1] * (leaf.ndim - 1))), v)
        for n, v in given.items()
    }
    state = flow.init(key, jax.eval_shape(lambda: many), flow.hyperparameters)

    def train(state):
        def step(number, state):
            return flow.step(state, many, jax.random.fold_in(key, number))[0]

        return jax.lax.fori_loop(0, 400, step, state)

    state = quick_jit(train)(state)
    keys = example_keys(key, jnp.arange(4))
    made, found = quick_jit(
        lambda keys: flow.generate(state, given["spoken"], normal_frames(keys, (FRAMES, BANDS)))
    )(keys)
    assert found.tolist() == count.tolist()
    for row, size in enumerate(count.tolist()):
        np.testing.assert_allclose(made[row, :size], features[row, :size], atol=0.4)


def test_frames_behind_a_text_have_no_velocity_and_change_nothing():
    module = FlowSpeech(3, 2, BANDS, width=8, depth=2)
    spoken = Spoken(jnp.array([[1, 3, 0]]), jnp.array([1]))
    noisy = jnp.asarray(np.random.default_rng(0).normal(size=(1, 9, BANDS)), jnp.float32)
    time, count = jnp.array([0.3]), jnp.array([5])
    shapes = jax.eval_shape(module.init, jax.random.key(0), noisy, time, spoken, count)
    generator = np.random.default_rng(0)
    # The last layer of a new network is zero.
    filled = jax.tree.map(
        lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), jnp.float32), shapes
    )
    velocity = quick_jit(lambda x: module.apply(filled, x, time, spoken, count, method="velocity"))
    found, other = velocity(noisy), velocity(noisy.at[:, 5:].add(3.0))
    assert np.asarray(found[:, :5]).any() and not np.asarray(found[:, 5:]).any()
    np.testing.assert_allclose(found, other, atol=1e-6)
