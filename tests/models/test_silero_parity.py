"""Silero's voice activity detector: its weights in, its ONNX's probabilities out."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.silero import CHUNK, CONTEXT, PUBLISHED, RATE, SileroVAD
from jaxmodels.pretrained import load, open_weights
from jaxmodels.pretrained.saving import save_file

pytestmark = pytest.mark.parity
MODEL = SileroVAD()


def folder():
    """Where the wheel silero-vad keeps its weights."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or not found.submodule_search_locations:
        pytest.skip("silero-vad is not installed")
    return Path(found.submodule_search_locations[0]) / "data"


def sound():
    """Noise, silence, a buzz with the formants of a vowel that moves, and a chirp: 3 seconds."""
    time = np.arange(3 * RATE + 100) / RATE
    generator = np.random.default_rng(0)
    harmonics = 120 * np.arange(1, 30)[:, None]
    formants = np.array([500, 1500, 2500])[:, None, None] * (1 + 0.2 * np.sin(9 * time))
    loud = np.exp(-((harmonics - formants) ** 2) / 2e4).sum(0)
    buzz = (loud * np.sin(2 * np.pi * harmonics * time)).sum(0) / 4
    noise = generator.normal(size=len(time)) / 9
    chirp = 0.2 * np.sin(2 * np.pi * (300 + 500 * time) * time)
    spans = [time < 0.5, time < 1, time < 2.4]
    return np.select(spans, [noise, 0 * time, buzz], chirp).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
    weights = open_weights(folder() / "silero_vad_16k.safetensors")
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros((1, CHUNK)))
    return load(weights, PUBLISHED, shapes)


def test_probabilities_equal_those_of_their_onnx(variables):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(folder() / "silero_vad.onnx"))
    given = np.stack([sound(), sound()[::-1]])
    ours, after = MODEL.apply(variables, jnp.asarray(given))
    state, context = np.zeros((2, 2, 128), np.float32), np.zeros((2, CONTEXT), np.float32)
    whole = np.pad(given, ((0, 0), (0, -given.shape[1] % CHUNK)))
    theirs = []
    for chunk in np.split(whole, whole.shape[1] // CHUNK, axis=1):
        seen = np.concatenate([context, chunk], axis=1)
        inputs = {"input": seen, "state": state, "sr": np.array(RATE, np.int64)}
        out, state = session.run(None, inputs)
        theirs.append(out[:, 0])
        context = chunk[:, -CONTEXT:]
    np.testing.assert_allclose(ours, np.stack(theirs, 1), atol=1e-5)
    np.testing.assert_allclose([after.out, after.cell], state, atol=1e-4)
    # It hears more than one kind of sound.
    assert np.ptp(np.asarray(ours)) > 0.1


def test_a_sound_in_parts_is_as_a_whole_and_weights_go_back(variables, tmp_path):
    given = jnp.asarray(sound()[None, : 40 * CHUNK])
    whole, _ = MODEL.apply(variables, given)
    first, state = MODEL.apply(variables, given[:, : 13 * CHUNK])
    second, _ = MODEL.apply(variables, given[:, 13 * CHUNK :], state)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
    save_file(tmp_path / "out.safetensors", variables, PUBLISHED)
    again = open_weights(tmp_path / "out.safetensors")
    theirs = open_weights(folder() / "silero_vad_16k.safetensors")
    assert again.keys() == theirs.keys()
    for name, stored in theirs.items():
        assert np.array_equal(again[name].read(), stored.read())
