"""Objectives of recognition: what counts, and that what does not fit reaches no weight."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.recognition import Connectionist
from jaxmodels.objectives.recording_augmentation import at_speed
from jaxmodels.ops.ctc import ctc_loss

LABELS, FRAMES, BANDS = 4, 6, 3


class Linear(nn.Module):
    """The least encoder: each frame for itself."""

    @nn.compact
    def __call__(self, features, frames, *, train=False, dropout_rate=None):
        return nn.Dense(LABELS)(features), frames


OBJECTIVE = Connectionist(
    Linear(), OptimizerConfig(optimizer="adam", learning_rate=0.1, schedule="constant"), steps=5
)
KEY = jax.random.key(0)


def batch(texts, lengths, frames):
    features = np.random.default_rng(0).normal(size=(len(texts), FRAMES, BANDS))
    columns = {"tokens": texts, "text_length": lengths, "frames": frames}
    arrays = {name: jnp.array(values, jnp.int32) for name, values in columns.items()}
    return {**arrays, "features": jnp.asarray(features, jnp.float32)}


GOOD = batch([[1, 2, 0], [3, 3, 1]], [2, 3], [5, 6])


def state_of(given):
    spec = jax.eval_shape(lambda: given)
    return OBJECTIVE.init(KEY, spec, OBJECTIVE.hyperparameters)


def test_the_loss_is_per_label_and_the_example_losses_average_to_it():
    state = state_of(GOOD)
    logits, frames = Linear().apply({"params": state["params"]}, GOOD["features"], GOOD["frames"])
    nats = ctc_loss(logits, frames, GOOD["tokens"], GOOD["text_length"])
    sums = OBJECTIVE.evaluate(state, {**GOOD, "valid": jnp.array([True, True])}, KEY)
    assert OBJECTIVE.summarize(sums)["loss"] == np.float32(nats.sum()) / 5
    first = OBJECTIVE.evaluate(state, {**GOOD, "valid": jnp.array([True, False])}, KEY)["loss"]
    np.testing.assert_allclose(first.total, nats[0], rtol=1e-6)
    assert first.count == 2
    params, losses = OBJECTIVE.losses(state, GOOD, KEY)
    np.testing.assert_allclose(losses(params).mean(), nats.sum() / 5, rtol=1e-6)


def test_a_text_that_does_not_fit_changes_no_step():
    """The step of a batch with such a text is that of the batch without it."""
    both = batch([[1, 2, 0], [3, 3, 1], [2, 2, 2]], [2, 3, 3], [5, 6, 4])
    step = jax.jit(OBJECTIVE.step)
    one, with_it = (step(state_of(GOOD), given, KEY) for given in (GOOD, both))
    assert with_it[1]["loss"].count == 5 and np.isfinite(with_it[1]["loss"].total)
    for a, b in zip(*(jax.tree.leaves(state["params"]) for state, _ in (one, with_it))):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    nothing = batch([[2, 2, 2]], [3], [4])
    state, sums = step(state_of(GOOD), nothing, KEY)
    assert sums["loss"].count == 0
    for a, b in zip(*(jax.tree.leaves(s["params"]) for s in (state, state_of(GOOD)))):
        assert np.array_equal(a, b)


def test_predictions_are_the_likeliest_path():
    found = OBJECTIVE.predict(state_of(GOOD), GOOD, KEY)
    assert found["tokens"].shape == (2, FRAMES) and (found["length"] <= GOOD["frames"]).all()


def test_recordings_are_played_from_their_start_and_keep_to_their_row():
    row = np.zeros((3, 100), np.float32)
    row[:, :50] = np.arange(50) / 50
    lengths, speeds = jnp.array([50, 50, 50]), jnp.array([1.0, 1.25, 0.25])
    sounds, after = at_speed(jnp.asarray(row), lengths, speeds)
    assert after.tolist() == [50, 40, 100]
    np.testing.assert_allclose(sounds[0], row[0], atol=1e-6)
    np.testing.assert_allclose(sounds[1, :39], 1.25 * np.arange(39) / 50, atol=1e-5)
    np.testing.assert_allclose(sounds[2, :98], 0.5 * np.arange(98) / 50, atol=1e-5)
    assert not sounds[1, 40:].any()
