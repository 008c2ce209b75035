"""The peers of experiments.benchmarks.language_model compute the same loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import language_model_peers as peers

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
TASK = peers.TASKS["tiny"]


def test_ours_and_the_model_in_torch_have_the_same_loss():
    torch.manual_seed(0)
    network = peers.torch_model(TASK)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    named = {name: jnp.asarray(p.detach().numpy()) for name, p in network.named_parameters()}

    def dense(name):
        return {"kernel": named[f"{name}.weight"].T}

    def norm(name):
        return {"scale": named[f"{name}.weight"]}

    query, key, value = np.split(named["layers.0.attention.weight"], 3)
    block = {
        **{
            name: {"kernel": w.T} for name, w in zip(("query", "key", "value"), (query, key, value))
        },
        "norm1": norm("layers.0.norm1"),
        "norm2": norm("layers.0.norm2"),
        "out": dense("layers.0.out"),
        "linear1": dense("layers.0.up"),
        "linear2": dense("layers.0.down"),
    }
    params = {
        "token_embedding": {"embedding": named["tokens.weight"]},
        "position_embedding": {"embedding": named["positions.weight"]},
        "block_0": block,
        "norm": norm("norm"),
    }
    objective = peers.our_step("tiny").objective
    spec = {"tokens": jax.ShapeDtypeStruct((2, TASK.context + 1), jnp.int32)}
    made = jax.eval_shape(
        lambda key: objective.init(key, spec, objective.hyperparameters), jax.random.key(0)
    )["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, made)
    tokens = np.random.default_rng(0).integers(0, TASK.vocabulary, (2, TASK.context + 1))
    sums = objective.evaluate({"params": params}, {"tokens": jnp.asarray(tokens)}, None)
    ids = torch.tensor(tokens)
    expected = network(ids[:, :-1], ids[:, 1:]).item()
    # One GELU is exact, the other by tanh.
    assert sums["loss"].value() == pytest.approx(expected, rel=1e-4)
    assert abs(expected - np.log(TASK.vocabulary)) > 0.01


@pytest.mark.slow
def test_every_peer_takes_steps():
    for peer in (peers.ours, peers.ours_on_two, peers.torch_eager):
        peer("tiny")(2)


def test_operations_are_counted_by_hand():
    # Per token: 12 * 16^2 of the block, 65 * 16 of the head, half of 2 * 8 * 16 of attention.
    assert TASK.flops() == 6 * 16 * (3072 + 1040 + 128)
