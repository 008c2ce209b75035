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


def read(path):
    weights = open_weights(path)
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), jnp.zeros((1, CHUNK)))
    return load(weights, PUBLISHED, shapes)


@pytest.fixture(scope="module")
def variables():
    return read(folder() / "silero_vad_16k.safetensors")


def in_chunks(given, call):
    """What a detector says of one chunk after another, which it is given with what is before."""
    state, context = np.zeros((2, len(given), 128), np.float32), np.zeros((len(given), CONTEXT))
    whole = np.pad(given, ((0, 0), (0, -given.shape[1] % CHUNK)))
    said = []
    for chunk in np.split(whole, whole.shape[1] // CHUNK, axis=1):
        out, state = call(np.concatenate([context, chunk], axis=1).astype(np.float32), state)
        said.append(out[:, 0])
        context = chunk[:, -CONTEXT:]
    return np.stack(said, 1), state


def test_the_network_is_that_of_their_onnx(tmp_path):
    """Their ONNX has other weights than their safetensors, so it is compared by its own."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    file = folder() / "silero_vad_16k_op15.onnx"
    names = {"model.stft.forward_basis_buffer": "stft_conv.weight"}
    for part in ("weight", "bias"):
        for number in range(4):
            name = f"model.encoder.{number}.reparam_conv.{part}"
            names[name] = f"conv{number + 1}.{part}"
        names[f"model.decoder.decoder.2.{part}"] = f"final_conv.{part}"
        for side in ("ih", "hh"):
            names[f"model.decoder.rnn.{part}_{side}"] = f"lstm_cell.{part}_{side}"
    arrays = {
        names[tensor.name]: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(file).graph.initializer
        if tensor.name in names
    }
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(arrays, tmp_path / "theirs.safetensors")
    session = runtime.InferenceSession(str(file))

    def call(seen, state):
        inputs = {"input": seen, "state": state, "sr": np.array(RATE, np.int64)}
        return session.run(None, inputs)

    given = np.stack([sound(), sound()[::-1]])
    theirs, state = in_chunks(given, call)
    ours, after = MODEL.apply(read(tmp_path / "theirs.safetensors"), jnp.asarray(given))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose([after.out, after.cell], state, atol=1e-4)
    assert np.ptp(theirs) > 0.5  # it hears more than one kind of sound


def test_their_safetensors_say_what_their_formula_says(variables):
    """The formula is that of the wheel's tinygrad_model.py, by torch's layers."""
    torch = pytest.importorskip("torch")
    weights = open_weights(folder() / "silero_vad_16k.safetensors")
    w = {name: torch.tensor(np.array(stored.read())) for name, stored in weights.items()}
    cell = torch.nn.LSTMCell(128, 128)
    own = {name.removeprefix("lstm_cell."): w[name] for name in w if name.startswith("lstm")}
    cell.load_state_dict(own)
    convolve, pad = torch.nn.functional.conv1d, torch.nn.functional.pad

    def call(seen, state):
        x = pad(torch.tensor(seen), (0, 64), mode="reflect")[:, None]
        x = convolve(x, w["stft_conv.weight"], stride=128)
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for number, stride in enumerate((1, 2, 2, 1), 1):
            layer = w[f"conv{number}.weight"], w[f"conv{number}.bias"]
            x = convolve(x, *layer, stride=stride, padding=1).relu()
        state = cell(x[..., 0], tuple(map(torch.tensor, state)))
        out = convolve(state[0].relu()[..., None], w["final_conv.weight"], w["final_conv.bias"])
        return out.sigmoid()[:, 0].numpy(), np.stack([part.numpy() for part in state])

    given = np.stack([sound(), sound()[::-1]])
    with torch.no_grad():
        theirs, _ = in_chunks(given, call)
    ours, _ = MODEL.apply(variables, jnp.asarray(given))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


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
