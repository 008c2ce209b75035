"""Muon step by step against torch, with its published step and AdamW as its authors combine them.

Source: `muon.py` of github.com/KellerJordan/Muon and `train_gpt_simple.py` of modded-nanogpt, at
commit f411b3d3; the reference below is written after them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.objectives.optimizers import OptimizerConfig, make_optimizer
from jaxmodels.objectives.schedules import scheduled_rate

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

STEPS = 20
SHAPES = {
    "words": {"embedding": (9, 4)},
    "block": {"wide": (4, 16), "tall": (16, 4), "square": (4, 4), "bias": (16,)},
    "head": {"kernel": (4, 9), "bias": (9,)},
}


class PublishedMuon:
    """Muon on matrices [outputs, inputs], as torch keeps them."""

    def __init__(self, matrices, rate, decay, beta, coefficients, steps, dtype):
        self.matrices, self.buffers = matrices, [torch.zeros_like(p) for p in matrices]
        self.rate, self.decay, self.beta = rate, decay, beta
        self.coefficients, self.steps, self.dtype = coefficients, steps, dtype

    def orthogonalize(self, update):
        a, b, c = self.coefficients
        x = update.to(self.dtype)
        tall = x.size(-2) > x.size(-1)
        x = x.mT if tall else x
        x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
        for _ in range(self.steps):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.mT if tall else x

    @torch.no_grad()
    def step(self, eta):
        for matrix, buffer in zip(self.matrices, self.buffers, strict=True):
            buffer.lerp_(matrix.grad, 1 - self.beta)
            update = self.orthogonalize(matrix.grad.lerp(buffer, self.beta))
            update *= max(1, matrix.size(-2) / matrix.size(-1)) ** 0.5
            matrix.mul_(1 - self.rate * eta * self.decay)
            matrix.add_(update, alpha=-self.rate * eta)


def _normal(seed, scale=1.0):
    generator = np.random.default_rng(seed)
    is_shape = lambda node: isinstance(node, tuple)  # noqa: E731
    return jax.tree.map(lambda s: scale * generator.normal(size=s), SHAPES, is_leaf=is_shape)


def _published(coefficients, steps, dtype):
    """Parameters after training as `train_gpt_simple.py` does, with its rates and schedule."""
    start = _normal(0)
    tensors = {
        name: {
            leaf: torch.tensor(value.T.copy(), requires_grad=True) for leaf, value in module.items()
        }
        for name, module in start.items()
    }
    block, head = tensors["block"], tensors["head"]
    matrices = [block[name] for name in ("wide", "tall", "square")]
    groups = [
        {"params": [tensors["words"]["embedding"]], "lr": 0.7},
        {"params": [head["kernel"]], "lr": 0.004},
        {"params": [block["bias"], head["bias"]], "lr": 0.015},
    ]
    adamw = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.001)
    muon = PublishedMuon(matrices, 0.025, 0.05, 0.95, coefficients, steps, dtype)
    rates = [group["lr"] for group in adamw.param_groups]
    for step in range(STEPS):
        progress = step / STEPS
        eta = 1.0 if progress < 1 - 0.7 else (1 - progress) / 0.7
        for group, rate in zip(adamw.param_groups, rates, strict=True):
            group["lr"] = rate * eta
        for name, module in _normal(100 + step).items():
            for leaf, gradient in module.items():
                tensors[name][leaf].grad = torch.tensor(gradient.T.copy())
        adamw.step()
        muon.step(eta)
    return jax.tree.map(lambda tensor: tensor.detach().numpy().T, tensors)


def _ours(coefficients, steps, precision):
    config = OptimizerConfig(
        optimizer="muon_jordan",
        learning_rate=0.025,
        schedule="trapezoid",
        warmup_steps=0,
        cooldown=0.7,
        momentum=0.95,
        adam_momentum=0.8,
        second_momentum=0.95,
        epsilon=1e-10,
        weight_decay=0.05,
        embedding_rate=28.0,
        head_rate=0.16,
        vector_rate=0.6,
        embedding_decay=0.02,
        head_decay=0.02,
        vector_decay=0.02,
        muon_coefficients=coefficients,
        muon_steps=steps,
        muon_precision=precision,
    )
    config.validate()
    numbers = {name: jnp.float64(value) for name, value in config.hyperparameters().items()}

    @jax.jit
    def update(params, state, gradients, at):
        rule = make_optimizer(config, numbers, scheduled_rate(config, STEPS, numbers, at))
        updates, state = rule.update(gradients, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    params = jax.tree.map(jnp.asarray, _normal(0))
    state = make_optimizer(config, numbers, jnp.float64(0)).init(params)
    for step in range(STEPS):
        params, state = update(params, state, _normal(100 + step), jnp.int32(step))
    return params


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "coefficients, steps", [((3.4445, -4.775, 2.0315), 5), ((2, -1.5, 0.5), 12)]
)
def test_equals_the_published_training_in_float64(coefficients, steps):
    coefficients = tuple(map(float, coefficients))
    ours, theirs = (
        _ours(coefficients, steps, "float32"),
        _published(coefficients, steps, torch.float64),
    )
    # The schedule is computed in float32.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), ours, theirs)


@pytest.mark.usefixtures("float64")
def test_equals_the_published_training_in_bfloat16_as_far_as_that_goes():
    """Twenty steps of 0.025 and less, each rounded to 1/256 of a singular value of about one."""
    given = (2.0, -1.5, 0.5), 12
    ours, theirs = _ours(*given, "bfloat16"), _published(*given, torch.bfloat16)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-3), ours, theirs)
