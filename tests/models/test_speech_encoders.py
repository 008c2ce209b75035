"""Encoders of speech: what fills a row up changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.conformer import ConformerConfig
from jaxmodels.models.speech_lstm import SpeechLSTMConfig
from tests.marks import slow_but
from tests.ops.compiling import quick_jit

ENCODERS = {
    "lstm": SpeechLSTMConfig(layers=1, hidden=4, width=6, halvings=1),
    "conformer": ConformerConfig(layers=2, width=8, heads=2, kernel=3, halvings=2),
    "transformer": ConformerConfig(layers=1, width=8, heads=2, kernel=0, halvings=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but("lstm", ENCODERS))
def test_a_sound_has_the_logits_that_it_has_alone(name):
    model = ENCODERS[name].create(5)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(2, 21, 6)), jnp.float32)
    frames = jnp.array([21, 10])
    variables = jax.tree.map(
        lambda leaf: leaf + 0.1, model.init(jax.random.key(0), features, frames)
    )
    run = quick_jit(model.apply)
    logits, places = run(variables, features, frames)
    alone, own = run(variables, features[1:, :10], frames[1:])
    assert logits.shape[1] == places[0] > places[1] == own[0] == alone.shape[1]
    np.testing.assert_allclose(logits[1, : own[0]], alone[0], atol=2e-5)
    filled = features.at[1, 10:].set(1e3)
    again, _ = run(variables, filled, frames)
    np.testing.assert_array_equal(again[1, : own[0]], logits[1, : own[0]])
    np.testing.assert_array_equal(again[0], logits[0])
