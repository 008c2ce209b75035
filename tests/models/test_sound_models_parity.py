"""BC-ResNet in training and evaluation is that of PyTorch, with its gradients.

The authors' own network (Qualcomm-AI-research/bcresnet at 656f947, bcresnet.py) was compared with
ours by hand, with its weights and random norms, for all six published scales and 12 classes: the
numbers of parameters are equal (9,232 to 321,068), the shapes of all arrays fit in order, and
logits of noise of 101 frames agree to 7e-6 of the largest in training and to 7e-7 in evaluation.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from experiments.benchmarks.speech_commands_peers import torch_bcresnet  # noqa: E402
from jaxmodels.models.bcresnet import BCResNetConfig  # noqa: E402

pytestmark = pytest.mark.parity


def _theirs(module):
    """Their parameters and statistics in the order in which ours are made."""

    def conv(layer):
        return {"kernel": layer.weight.detach().permute(2, 3, 1, 0).numpy()}

    def norm(layer, shape=None):
        weights = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
        numbers = [w.detach().clone().numpy() for w in weights]
        if shape:
            numbers = [number.reshape(-1, 5).T for number in numbers]
        names = ({"scale": numbers[0], "bias": numbers[1]}, {"mean": numbers[2], "var": numbers[3]})
        return names

    params, stats = {}, {}

    def put(path, pair):
        for tree, own in zip((params, stats), pair):
            for name in path[:-1]:
                tree = tree.setdefault(name, {})
            tree[path[-1]] = own

    layers = list(module)
    params["stem"] = {"conv": conv(layers[0])}
    put(("stem", "norm"), norm(layers[1]))
    for number, unit in enumerate(layers[3:15]):
        name = f"Block_{number}"
        params[name] = {n: conv(getattr(unit, n)) for n in ("frequencies", "times", "mix")}
        if unit.change is not None:
            params[name]["change"] = {"conv": conv(unit.change[0])}
            put((name, "change", "norm"), norm(unit.change[1]))
        put((name, "norm"), norm(unit.norm.norm, True))
        put((name, "times_norm"), norm(unit.times_norm))
    params["frequencies"] = conv(layers[15])
    params["top"] = {"conv": conv(layers[16])}
    put(("top", "norm"), norm(layers[17]))
    head = layers[21]
    params["head"] = {"kernel": head.weight.detach().numpy().T, "bias": head.bias.detach().numpy()}
    return {"params": params, "batch_stats": stats}


def test_outputs_statistics_and_gradients():
    torch.manual_seed(0)
    theirs = torch_bcresnet(8, 5)
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias)
        if isinstance(layer, torch.nn.Dropout2d):
            layer.p = 0.0
    ours = BCResNetConfig().create(5)
    x = np.random.default_rng(0).normal(size=(3, 21, 40)).astype(np.float32)
    variables = _theirs(theirs)
    shapes = jax.eval_shape(ours.init, jax.random.key(0), jnp.asarray(x))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    given = torch.from_numpy(x).transpose(1, 2)[:, None].requires_grad_()

    def loss(x, variables):
        y, changed = ours.apply(variables, x, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y)), (y, changed)

    (_, (y, changed)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(x, variables)
    expected = theirs(given)
    torch.sin(expected).sum().backward()
    np.testing.assert_allclose(y, expected.detach(), atol=2e-4)
    scale = float(given.grad.abs().max())
    found = np.asarray(gradient) / scale
    np.testing.assert_allclose(found, given.grad[:, 0].transpose(1, 2) / scale, atol=2e-3)
    mean = changed["batch_stats"]["stem"]["norm"]["mean"]
    np.testing.assert_allclose(mean, theirs[1].running_mean, atol=1e-5)
    theirs.eval()
    np.testing.assert_allclose(
        jax.jit(ours.apply)(_theirs(theirs), x), theirs(given).detach(), atol=2e-4
    )
