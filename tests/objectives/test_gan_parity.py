"""Losses and slope penalties of a GAN against torch's automatic differentiation, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.objectives.adversarial_losses import LOSSES
from jaxmodels.objectives.gradient_penalties import slope_from_one, squared_slope

torch = pytest.importorskip("torch")
# Arrays of torch come as numpy, which annotations of the package do not allow.
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("float64", "unchecked")]

BCE = torch.nn.functional.binary_cross_entropy_with_logits
ones, zeros = torch.ones(7, dtype=torch.float64), torch.zeros(7, dtype=torch.float64)
relu = torch.nn.functional.relu
TORCH = {
    "minimax": (
        lambda r, f: BCE(r, ones) + BCE(f, zeros),
        lambda r, f: -BCE(f, zeros),
    ),
    "non_saturating": (
        lambda r, f: BCE(r, ones) + BCE(f, zeros),
        lambda r, f: BCE(f, ones),
    ),
    "hinge": (
        lambda r, f: relu(1 - r).mean() + relu(1 + f).mean(),
        lambda r, f: -f.mean(),
    ),
    "least_squares": (
        lambda r, f: ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2,
        lambda r, f: ((f - 1) ** 2).mean() / 2,
    ),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "relativistic": (lambda r, f: BCE(r - f, ones), lambda r, f: BCE(f - r, ones)),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("player", [0, 1])
def test_losses_and_gradients(name, player):
    real, fake = np.random.default_rng(0).normal(size=(2, 7)) * 2
    ours = jax.value_and_grad(lambda r, f: jnp.mean(LOSSES[name][player](r, f)), (0, 1))
    value, gradients = ours(real, fake)
    inputs = [torch.tensor(x, requires_grad=True) for x in (real, fake)]
    expected = TORCH[name][player](*inputs)
    found = torch.autograd.grad(expected, inputs, allow_unused=True)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    for gradient, reference in zip(gradients, found, strict=True):
        reference = torch.zeros(7) if reference is None else reference
        np.testing.assert_allclose(gradient, reference.numpy(), atol=1e-13)


def _critics():
    """One small convolutional critic in jax and in torch, with the same parameters."""
    generator = np.random.default_rng(1)
    kernel, head = generator.normal(size=(3, 3, 2, 5)), generator.normal(size=(5 * 16, 1))

    def ours(params, x):
        y = jax.lax.conv_general_dilated(
            x, params[0], (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return (jnp.tanh(y).reshape(len(x), -1) @ params[1])[:, 0]

    def theirs(params, x):
        y = torch.nn.functional.conv2d(x, params[0], stride=2, padding=1)
        y = torch.tanh(y).permute(0, 2, 3, 1)
        return (y.reshape(len(x), -1) @ params[1])[:, 0]

    torch_params = [
        torch.tensor(kernel.transpose(3, 2, 0, 1).copy(), requires_grad=True),
        torch.tensor(head, requires_grad=True),
    ]
    return ours, (jnp.asarray(kernel), jnp.asarray(head)), theirs, torch_params


def _images(seed):
    return np.random.default_rng(seed).normal(size=(4, 8, 8, 2))


def _to_torch(x):
    return torch.tensor(np.ascontiguousarray(np.transpose(x, (0, 3, 1, 2))), requires_grad=True)


def _compare(value, gradients, expected, torch_params):
    found = torch.autograd.grad(expected, torch_params)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-11)
    np.testing.assert_allclose(
        gradients[0].transpose(3, 2, 0, 1), found[0].numpy(), rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(gradients[1], found[1].numpy(), rtol=1e-9, atol=1e-11)


def test_r1_and_its_gradient():
    ours, params, theirs, torch_params = _critics()
    x = _images(2)
    value, gradients = jax.value_and_grad(
        lambda p: jnp.mean(squared_slope(lambda x: ours(p, x), x)) / 2
    )(params)
    images = _to_torch(x)
    (slope,) = torch.autograd.grad(theirs(torch_params, images).sum(), images, create_graph=True)
    expected = slope.square().sum((1, 2, 3)).mean() / 2
    _compare(value, gradients, expected, torch_params)


def test_gradient_penalty_and_its_gradient():
    ours, params, theirs, torch_params = _critics()
    real, fake = _images(3), _images(4)
    keys = jax.random.split(jax.random.key(0), 4)
    value, gradients = jax.value_and_grad(
        lambda p: jnp.mean(slope_from_one(lambda x: ours(p, x), real, fake, keys))
    )(params)
    weight = np.asarray(jax.vmap(jax.random.uniform)(keys))[:, None, None, None]
    assert len(np.unique(weight)) == 4
    images = _to_torch(weight * real + (1 - weight) * fake)
    (slope,) = torch.autograd.grad(theirs(torch_params, images).sum(), images, create_graph=True)
    expected = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    _compare(value, gradients, expected, torch_params)
