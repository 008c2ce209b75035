"""Kim's CNN and the LSTM in both directions against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.models.text_inputs import TextInput
from jaxmodels.models.text_models import TextModels
from tests.models.test_text_models import CLASSES, WORDS, moved, text_of
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("float64")]


def tensor(array):
    return torch.tensor(np.asarray(array, np.float64), requires_grad=True)


def case(name, **options):
    models = TextModels(model=name)
    section = getattr(models, name)
    section = type(section)(**options)
    model = section.create(CLASSES, WORDS, jnp.float64)
    text = text_of(7)
    variables = jax.tree.map(lambda x: x.astype(jnp.float64), moved(model, text))
    return model, text, variables


def compared(model, text, variables, theirs, leaves):
    """Compares logits, and the gradients of leaves: our path -> their tensor."""
    logits = model.apply(variables, text)
    np.testing.assert_allclose(logits, theirs.detach().numpy(), rtol=1e-6, atol=1e-8)
    torch.sin(theirs).sum().backward()
    found = jax.grad(lambda v: jnp.sum(jnp.sin(model.apply(v, text))))(variables)["params"]
    for path, (leaf, change) in leaves.items():
        ours = found
        for part in path.split("/"):
            ours = ours[part]
        np.testing.assert_allclose(ours, change(leaf.grad.numpy()), rtol=1e-6, atol=1e-8)


def sizes(text):
    return np.asarray(text.valid).sum(1)


def test_the_cnn_equals_torch_on_each_text_alone():
    windows = (2, 3)
    model, text, variables = case("cnn", width=6, windows=windows, maps=4)
    params = variables["params"]
    table = tensor(params["words"]["embedding"])
    kernels = {w: tensor(params[f"window{w}"]["kernel"]) for w in windows}
    biases = {w: tensor(params[f"window{w}"]["bias"]) for w in windows}
    head, bias = tensor(params["head"]["kernel"]), tensor(params["head"]["bias"])
    rows = []
    for tokens, size in zip(np.asarray(text.tokens), sizes(text)):
        words = table[torch.tensor(tokens[:size]).long()].T[None]
        found = []
        for window in windows:
            weight = kernels[window].reshape(window, 6, 4).permute(2, 1, 0)
            y = torch.nn.functional.conv1d(words, weight, biases[window], padding=window - 1)
            found.append(torch.relu(y).amax(-1)[0])
        rows.append(torch.cat(found) @ head + bias)
    same = lambda x: x  # noqa: E731
    leaves = {"words/embedding": (table, same), "head/kernel": (head, same)}
    leaves |= {f"window{w}/kernel": (kernels[w], same) for w in windows}
    leaves |= {f"window{w}/bias": (biases[w], same) for w in windows}
    compared(model, text, variables, torch.stack(rows), leaves)


@pytest.mark.parametrize("pool", ["max", "last"])
def test_the_lstm_equals_torch_on_packed_sequences(pool):
    model, text, variables = case("lstm", width=6, hidden=4, layers=2, pool=pool)
    params = variables["params"]
    network = torch.nn.LSTM(6, 4, 2, batch_first=True, bidirectional=True).double()
    leaves = {}
    with torch.no_grad():
        for layer in range(2):
            for name, suffix in (("forward", ""), ("backward", "_reverse")):
                own = params[f"{name}_{layer}"]
                for ours, theirs in (("input/kernel", "weight_ih"), ("recurrent", "weight_hh")):
                    leaf = getattr(network, f"{theirs}_l{layer}{suffix}")
                    array = own["input"]["kernel"] if ours == "input/kernel" else own["recurrent"]
                    leaf.copy_(torch.tensor(np.asarray(array).T))
                    leaves[f"{name}_{layer}/{ours}"] = leaf, np.transpose
                leaf = getattr(network, f"bias_ih_l{layer}{suffix}")
                leaf.copy_(torch.tensor(np.asarray(own["input"]["bias"])))
                leaves[f"{name}_{layer}/input/bias"] = leaf, np.asarray
                getattr(network, f"bias_hh_l{layer}{suffix}").zero_()
    table = tensor(params["words"]["embedding"])
    head, bias = tensor(params["head"]["kernel"]), tensor(params["head"]["bias"])
    leaves["words/embedding"] = table, np.asarray
    words = table[torch.tensor(np.asarray(text.ids)).long()]
    packed = torch.nn.utils.rnn.pack_padded_sequence(words, torch.tensor(sizes(text)), True)
    states, (last, _) = network(packed)
    if pool == "last":
        pooled = torch.cat([last[2], last[3]], dim=-1)
    else:
        least = -torch.inf
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(states, True, least)
        pooled = padded.amax(1)
    compared(model, text, variables, pooled @ head + bias, leaves)


def test_empty_rows_are_finite():
    empty = TextInput(jnp.full((2, 4), -1), jnp.zeros((2, 4), int))
    for name in ("average", "cnn", "lstm", "bag"):
        models = TextModels(model=name)
        model = models.create(CLASSES, WORDS, jnp.float64)
        variables = model.init(jax.random.key(0), empty)
        assert np.isfinite(model.apply(variables, empty)).all()
