"""Optimizers and schedules against torch over 100 steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.objectives.optimizers import OptimizerConfig, make_optimizer
from jaxmodels.objectives.schedules import scheduled_rate

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

STEPS = 100
CASES = {
    "sgd": (
        OptimizerConfig(optimizer="sgd", learning_rate=0.05, schedule="constant"),
        lambda p: torch.optim.SGD(p, 0.05),
        None,
    ),
    "momentum, L2, cosine": (
        OptimizerConfig(optimizer="momentum", learning_rate=0.05, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS),
    ),
    "adam, step": (
        OptimizerConfig(
            optimizer="adam", learning_rate=0.05, schedule="step", decay_every=30, decay_rate=0.5
        ),
        lambda p: torch.optim.Adam(p, 0.05),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 30, 0.5),
    ),
    "adam, epsilon, milestones": (
        OptimizerConfig(
            optimizer="adam",
            learning_rate=0.05,
            epsilon=1e-4,
            schedule="milestones",
            milestones=(20, 70, 71),
            decay_rate=0.3,
        ),
        lambda p: torch.optim.Adam(p, 0.05, eps=1e-4),
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 70, 71], 0.3),
    ),
    "adamw": (
        OptimizerConfig(
            optimizer="adamw",
            learning_rate=0.05,
            schedule="constant",
            weight_decay=0.1,
            epsilon=1e-4,
        ),
        lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1, eps=1e-4),
        None,
    ),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", CASES)
def test_equals_torch_over_100_steps(name):
    config, make, make_schedule = CASES[name]
    generator = np.random.default_rng(0)
    start, matrix = generator.normal(size=(4, 3)), generator.normal(size=(4, 4))

    theirs = torch.tensor(start, requires_grad=True)
    optimizer = make([theirs])
    schedule = make_schedule(optimizer) if make_schedule else None
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((torch.tensor(matrix) @ theirs - 1) ** 2).mean().backward()
        optimizer.step()
        if schedule:
            schedule.step()

    hyperparameters = {n: jnp.float64(v) for n, v in config.hyperparameters().items()}

    @jax.jit
    def step(ours, state, at):
        gradient = jax.grad(lambda p: jnp.mean((matrix @ p - 1) ** 2))(ours)
        rate = scheduled_rate(config, STEPS, hyperparameters, at)
        updates, state = make_optimizer(config, hyperparameters, rate).update(gradient, state, ours)
        return ours + updates, state

    ours = jnp.asarray(start)
    state = make_optimizer(config, hyperparameters, jnp.float64(0)).init(ours)
    for at in range(STEPS):
        ours, state = step(ours, state, jnp.int32(at))
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-6)
