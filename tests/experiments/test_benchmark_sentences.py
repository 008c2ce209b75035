"""The peers of experiments.benchmarks.sentences are the same models, with the same loss."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from experiments.benchmarks import sentences
from experiments.benchmarks import sentences_peers as peers
from experiments.benchmarks.alternate import Timing
from jaxmodels.models.bert_names import published
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytest.importorskip("transformers")
pytestmark = pytest.mark.parity


def torch_arrays(name, task, params):
    """Our parameters by the names of the torch module."""
    flat = {path: np.asarray(array) for path, array in flatten_dict(params, sep="/").items()}
    if task.model == "lstm":
        for way, end in (("forward", ""), ("backward", "_reverse")):
            own = {"weight_ih": "input/kernel", "weight_hh": "recurrent", "bias_ih": "input/bias"}
            for theirs, path in own.items():
                yield f"network.lstm.{theirs}_l0{end}", flat.pop(f"{way}_0/{path}").T
    if task.model == "transformer":
        paths = {f"params/{path}": array for path, array in flat.items()}
        for entry in published(peers.options_of(task)).entries:
            own = entry.layout.outward(*(paths[path] for path in entry.paths))
            if entry.outside:
                yield entry.name.replace("classifier", "network.head"), own
            else:
                yield f"network.bert.{entry.name}", own
        return
    root = "" if task.summary else "network."
    for path, array in flat.items():
        if window := re.match(r"window(\d)/kernel", path):
            # Ours is one product for each place in the window.
            array = array.reshape(int(window[1]), -1, array.shape[1]).transpose(2, 1, 0)
        elif path.endswith("kernel"):
            array = array.T
        path = re.sub("/(kernel|scale|embedding)$", "/weight", path)
        path = path.replace("embedding/weight", "embedding.weight")
        yield root + path.replace("/", "."), array


@pytest.mark.parametrize(
    "name",
    [
        "copy",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("bag", "cnn", "lstm", "transformer")
        ),
    ],
)
def test_both_have_the_same_parameters_and_loss(name):
    from experiments.benchmarks.torch_detectors import count_parameters
    from experiments.benchmarks.torch_sentences import torch_loss

    task = peers.TASKS[f"tiny-{name}"]
    objective, columns = peers.our_objective(task), task.columns()
    numbers = {key: jnp.float32(value) for key, value in objective.hyperparameters.items()}
    spec = {key: jax.ShapeDtypeStruct(c.shape, c.dtype) for key, c in columns.items()}
    state = jax.jit(lambda key: objective.init(key, spec, numbers))(jax.random.key(0))
    draw = np.random.default_rng(0)
    # Biases and the bag start at zero, where an error would not show.
    moved = jax.tree.map(lambda a: a + draw.normal(0, 0.1, a.shape).astype("f4"), state["params"])
    model = torch_loss(task, peers.options_of(task)).eval()
    arrays = dict(torch_arrays(name, task, moved))
    trained = {key for key, own in model.named_parameters() if own.requires_grad}
    assert set(arrays) == trained
    with torch.no_grad():
        for key, array in arrays.items():
            model.get_parameter(key).copy_(torch.tensor(array))
    assert count_parameters(model) == sum(a.size for a in jax.tree.leaves(moved))
    batch = {**columns, "valid": np.ones(task.count, bool)}
    sums = jax.jit(objective.evaluate)({**state, "params": moved}, batch, jax.random.key(0))
    given = {key: torch.tensor(column).long() for key, column in columns.items()}
    with torch.no_grad():
        expected = model(**given).item()
        cut = peers.cut_to_longest(task, {key: column[:2] for key, column in given.items()})
        assert model(**cut).item() == pytest.approx(
            model(**{key: column[:2] for key, column in given.items()}).item(), rel=1e-5
        )
    assert sums.loss.value() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_peers_run_and_agree_on_their_size():
    sizes = {}
    for peer in ("ours", "torch_eager", "torch_cut"):
        peers.FACTS.clear()
        getattr(peers, peer)("tiny-cnn")(2)
        sizes[peer] = dict(peers.FACTS)
    assert sizes["torch_eager"]["parameters"] == sizes["ours"]["parameters"] == 23 * 6 + 146
    # A window of 2 words has 9 places in a row of 8, one of 3 has 10; forward and both gradients.
    products = 9 * 2 * 6 * 4 + 10 * 3 * 6 * 4 + 8 * 2
    assert sizes["ours"]["flops"] == pytest.approx(3 * 2 * 4 * products, rel=0.1)


def test_the_table_says_who_is_faster():
    facts = {"parameters": 1234, "flops": 2_000_000}
    ours = Timing("ours", (0.002, 0.004, 0.006), 2, facts=facts)
    theirs = Timing("torch_cut", (0.01,), 1, facts={"parameters": 1234})
    lines = sentences.steps_table("lstm", [ours, theirs], pace=1e9).splitlines()
    assert lines[1] == "lstm: 50 rows of 64, 17,254 tokens"
    numbers = ["10.0", "10.0", "10.0", "1", "2.50x", "2.0", "5.00x"]
    assert lines[4].split() == ["PyTorch", "eager,", "cut", "rows", *numbers]
    assert lines[-1] == "PyTorch eager, cut rows: 1,234 parameters"
