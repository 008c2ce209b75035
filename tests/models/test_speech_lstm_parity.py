"""The LSTMs over spectrograms beside torch's, which are given packed sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.spectrogram_stem import Stem
from jaxmodels.models.speech_lstm import SpeechLSTMConfig

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


def tensor(array):
    return torch.tensor(np.asarray(array))


def torch_layer(params, number, width, hidden):
    """torch's LSTM in both directions with our weights, in its names."""
    layer = torch.nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
    values = {}
    for name, ending in (("forward", ""), ("backward", "_reverse")):
        own = params[f"{name}_{number}"]
        values[f"weight_ih_l0{ending}"] = tensor(own["input"]["kernel"]).T
        values[f"bias_ih_l0{ending}"] = tensor(own["input"]["bias"])
        values[f"weight_hh_l0{ending}"] = tensor(own["recurrent"]).T
        values[f"bias_hh_l0{ending}"] = torch.zeros(4 * hidden)
    layer.load_state_dict(values)
    return layer


def test_logits_are_those_of_packed_sequences():
    width, hidden = 6, 4
    model = SpeechLSTMConfig(layers=2, hidden=hidden, width=width, halvings=1).create(3)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(3, 15, 5)), jnp.float32)
    frames = jnp.array([15, 7, 10])
    params = model.init(jax.random.key(1), features, frames)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.05, params)
    logits, places = model.apply({"params": params}, features, frames)
    stem = Stem(width, 1).apply({"params": params["stem"]}, features, frames)
    x, lengths = tensor(stem[0]), torch.tensor(np.asarray(stem[1])).long()
    for number in range(2):
        layer = torch_layer(params, number, x.shape[2], hidden)
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        states, _ = torch.nn.utils.rnn.pad_packed_sequence(layer(packed)[0], True)
        norm = params[f"norm_{number}"]
        x = torch.nn.functional.layer_norm(
            states, (2 * hidden,), tensor(norm["scale"]), tensor(norm["bias"])
        )
    expected = x @ tensor(params["head"]["kernel"]) + tensor(params["head"]["bias"])
    assert places.tolist() == [8, 4, 5]
    for own, other, count in zip(np.asarray(logits), expected.detach().numpy(), places.tolist()):
        np.testing.assert_allclose(own[:count], other[:count], atol=1e-5)
