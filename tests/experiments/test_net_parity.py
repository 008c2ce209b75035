"""`--preset net` prints the losses of the same PyTorch program."""

import contextlib
import io

import jax
import numpy as np
import pytest

from experiments.classifier import PRESETS, ClassifierConfig, build
from jaxmodels.data.images import load_images
from jaxmodels.order import sample_order
from jaxmodels.train import configure, main
from jaxmodels.train.program import keys_of
from tests.marks import campaign

torch = pytest.importorskip("torch")
# Thousands of roundings add up: programs are compiled as users compile them.
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("optimized")]


def _torch_program(config, experiment) -> list[str]:
    """The founding example in PyTorch: same initial weights, same samples in the same order."""
    objective, spec = experiment.objective, experiment.train.spec(config.run.batch_size)
    state = objective.init(keys_of(config.run.seed).init, spec, objective.hyperparameters)
    net = torch.nn.Sequential(torch.nn.Linear(100, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
    with torch.no_grad():
        for layer, name in ((net[0], "Dense_0"), (net[2], "Dense_1")):
            layer.weight.copy_(torch.tensor(np.asarray(state["params"][name]["kernel"]).T))
            layer.bias.copy_(torch.tensor(np.asarray(state["params"][name]["bias"])))

    split = load_images("digits").splits["train"]
    images = np.pad(split["image"], ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(1280, 100)
    inputs = torch.tensor(
        (images - split["image"].mean()) / split["image"].std(), dtype=torch.float32
    )
    labels = torch.tensor(split["label"], dtype=torch.long)

    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    lines = []
    for epoch in range(10):
        running_loss = 0.0
        batches = sample_order(1280, 32, config.run.seed, epoch * 40, (epoch + 1) * 40)
        for batch in batches:
            optimizer.zero_grad()
            loss = criterion(net(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        lines.append("Epoch: %d, Loss: %.3f" % (epoch + 1, running_loss / 40))  # noqa: UP031
    return lines


@pytest.mark.parametrize("seed", [0, campaign(1)])
def test_printed_losses_equal_pytorch(tmp_path, seed):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        flags = ["--preset", "net", "--seed", str(seed), "--workdir", str(tmp_path)]
        assert main(ClassifierConfig, build, PRESETS, flags) == 0
    config = configure(ClassifierConfig(), **PRESETS["net"].flags, seed=seed)
    experiment = build(config)
    objective, spec = experiment.objective, experiment.train.spec(32)
    shapes = jax.eval_shape(
        lambda key: objective.init(key, spec, objective.hyperparameters), jax.random.key(0)
    )["params"]
    assert shapes["Dense_0"]["kernel"].shape == (100, 50)
    assert shapes["Dense_1"]["kernel"].shape == (50, 10)
    lines = out.getvalue().splitlines()
    assert lines[:-1] == _torch_program(config, experiment)
    assert lines[-1].startswith("step=400 test/loss=")
