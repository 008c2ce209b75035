"""ResNet against torchvision's, one block a stage, from the same random weights.

torchvision computes in float64, so that a difference is our rounding alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmodels.models.resnet import ResNetConfig
from jaxmodels.models.resnet_names import published
from jaxmodels.ops import cpu_compiler_options
from tests.pretrained.theirs import variables_of
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
torchvision = pytest.importorskip("torchvision.models.resnet")
# Thousands of roundings add up: programs are compiled as users compile them.
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("optimized")]

CLASSES, MOMENTUM, ATOL = 10, 0.9, 1e-5
VARIANT = {"BasicBlock": "18", "Bottleneck": "50"}


def random_network(kind):
    torch.manual_seed(0)
    network = torchvision.ResNet(getattr(torchvision, kind), [1, 1, 1, 1], CLASSES).double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
    return network


def names_of(network):
    """The path of each of our convolutions and norms, by torchvision's name."""
    names = {}
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d):
            *block, leaf = (
                name.replace("downsample.0", "conv0").replace("downsample.1", "bn0").split(".")
            )
            number = leaf.removeprefix("conv").removeprefix("bn")
            part = {"0": "downsample"}.get(number, f"conv{number}")
            path = ("_".join(block), part) if block else ("stem",)
            names[name] = (*path, "conv" if leaf.startswith("conv") else "norm")
    return names


def at(tree, path):
    for name in path:
        tree = tree[name]
    return tree


def some_images():
    generator = np.random.default_rng(0)
    # Of one colour each and some noise: a random network hardly tells noise from noise.
    images = 2 * generator.normal(size=(8, 1, 1, 3)) + generator.normal(size=(8, 64, 64, 3))
    return images.astype(np.float32), generator.integers(0, CLASSES, 8)


def as_torch(images):
    return torch.tensor(images).permute(0, 3, 1, 2).double()


@pytest.mark.parametrize("kind", ["BasicBlock", "Bottleneck"])
def test_logits_statistics_gradients_and_a_step_of_adamw_equal_torchvision(kind):
    network = random_network(kind)
    config = ResNetConfig(variant=VARIANT[kind], depths=(1, 1, 1, 1))
    model = config.create(CLASSES)
    images, labels = some_images()
    table = published(config, style="torchvision")
    variables = variables_of(network, table, model, jnp.asarray(images))

    logits = jax.jit(model.apply, compiler_options=cpu_compiler_options())(variables, images)
    expected = network.eval()(as_torch(images)).detach().numpy()
    assert expected.std(axis=0).mean() > 1000 * ATOL
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=ATOL)

    def loss(params):
        logits, changed = model.apply(
            {**variables, "params": params},
            jnp.asarray(images),
            train=True,
            mutable=["batch_stats"],
        )
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -jnp.mean(chosen), (logits, changed["batch_stats"])

    gradients, (logits, statistics) = jax.jit(
        jax.grad(loss, has_aux=True), compiler_options=cpu_compiler_options()
    )(variables["params"])

    counts = {}  # values per channel that each norm sees

    def count(name):
        def hook(module, inputs, output):
            counts[name] = output.numel() // output.shape[1]

        return hook

    modules = dict(network.train().named_modules())
    names = names_of(network)
    before = {
        name: module.running_var.clone()
        for name, module in modules.items()
        if "norm" in names.get(name, ())
    }
    for name in before:
        modules[name].register_forward_hook(count(name))
    expected = network(as_torch(images))
    torch.nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=1e-5, atol=ATOL)

    for name, old in before.items():
        ours, theirs = at(statistics, names[name]), modules[name]
        np.testing.assert_allclose(ours["mean"], theirs.running_mean, rtol=1e-4, atol=1e-5)
        # Ours is the biased variance, as flax's.
        n, old = counts[name], MOMENTUM * old.numpy()
        unbiased = old + (ours["var"] - old) * n / (n - 1)
        np.testing.assert_allclose(unbiased, theirs.running_var, rtol=1e-5)
        assert abs(ours["var"] - theirs.running_var.numpy()).max() > 0

    exact = [name for name in names if name.startswith("layer4.0")][-4:]
    for name, path in names.items():
        if path[-1] == "conv":
            actual, expected = at(gradients, path)["kernel"], modules[name].weight.grad
            expected = expected.permute(2, 3, 1, 0).numpy()
        else:
            actual, expected = at(gradients, path)["scale"], modules[name].weight.grad.numpy()
        # An activation within rounding of zero is zero in one of the two; layers below it feel it.
        tolerance = 2e-5 if name in exact else 0.03
        error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
        assert error < tolerance, name

    # An epsilon above the rounding of gradients, which a step would otherwise bring to size 1.
    rule, params = optax.adamw(0.01, eps=1e-3, weight_decay=0.1), variables["params"]
    updates, _ = rule.update(gradients, rule.init(params), params)
    after = optax.apply_updates(params, updates)
    torch.optim.AdamW(network.parameters(), 0.01, eps=1e-3, weight_decay=0.1).step()
    stepped = variables_of(network, table, model, jnp.asarray(images))["params"]
    for name in exact:
        for actual, expected in zip(
            *(jax.tree.leaves(at(t, names[name])) for t in (after, stepped))
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5, err_msg=name)
