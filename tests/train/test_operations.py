"""Operations counted in jaxprs."""

import json

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxmodels import ops
from jaxmodels.train import configure
from jaxmodels.train.chips import CHIPS, chip_of
from jaxmodels.train.operations import count_operations
from tests.train.toys import CONFIG, experiment, regression, train_toy


def _count(function, *arrays):
    return count_operations(jax.make_jaxpr(function)(*arrays).jaxpr)


def test_products_convolutions_and_loops_are_counted():
    x, kernel = jnp.zeros((4, 8)), jnp.zeros((8, 6))
    product = 2 * 4 * 8 * 6
    assert _count(lambda x, w: x @ w, x, kernel) == product
    batched = lambda x, w: jnp.einsum("bij,bjk->bik", x, w)  # noqa: E731
    assert _count(batched, jnp.zeros((3, 4, 8)), jnp.zeros((3, 8, 6))) == 3 * product
    # Its gradient in both is two products more.
    loss = lambda x, w: jnp.sum(jnp.tanh(x @ w))  # noqa: E731
    assert _count(jax.grad(loss, (0, 1)), x, kernel) == 3 * product
    # What is computed again counts again.
    again = jax.grad(jax.checkpoint(lambda w, x: jnp.sum(jnp.sin(x @ w))), (0, 1))
    assert _count(again, kernel, x) == 4 * product
    looped = lambda w: lax.scan(lambda c, _: (c @ w, None), jnp.zeros((4, 8)), None, 5)  # noqa: E731
    assert _count(looped, jnp.zeros((8, 8))) == 5 * 2 * 4 * 8 * 8
    chosen = lambda x, w: lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: jnp.zeros((4, 6)))  # noqa: E731
    assert _count(chosen, x, kernel) == product
    images, filters = jnp.zeros((2, 9, 9, 3)), jnp.zeros((3, 3, 3, 5))
    convolve = lambda x, w: lax.conv_general_dilated(  # noqa: E731
        x, w, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    of_one = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    assert _count(convolve, images, filters) == of_one
    # Of the networks here, also for each of several members, and in groups.
    own = lambda x, w: jnp.sum(jnp.square(ops.conv(x, w, 2, "VALID")))  # noqa: E731
    assert _count(own, images, filters) == of_one
    assert _count(jax.grad(own, (0, 1)), images, filters) == 3 * of_one
    members = jax.vmap(own)
    assert _count(members, jnp.stack([images] * 3), jnp.stack([filters] * 3)) == 3 * of_one
    grouped = lambda x, w: ops.conv(x, w, 2, "VALID", groups=3)  # noqa: E731
    assert _count(grouped, images, filters[:, :, :1, :3]) == 2 * (2 * 4 * 4 * 3) * (3 * 3 * 1)
    doubled = lambda x, w: ops.conv_transpose(x, w, 2)  # noqa: E731
    assert _count(doubled, images, filters) == 2 * (2 * 9 * 9 * 3) * (3 * 3 * 5)


def test_only_known_chips_have_a_peak():
    assert chip_of("NVIDIA H100 80GB HBM3") is CHIPS["h100"]
    assert chip_of("TPU v5 lite") is CHIPS["v5e"]
    assert chip_of("TPU v5p") is CHIPS["v5p"]
    # A card with another clock, and what this test runs on.
    assert chip_of("NVIDIA H100 PCIe") is None
    assert chip_of(jax.devices("cpu")[0].device_kind) is None


def test_speed_is_a_share_of_the_peak_of_a_known_chip(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxmodels.train.trainer.chip_of", lambda kind: CHIPS["v5e"])
    config = configure(CONFIG, steps=24, mesh="data=1", profile=8)
    train_toy(tmp_path, experiment(regression()), config)
    lines = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    # Predictions, their gradient in the weights, and predictions for the metric, of 16 examples
    # with 5 numbers.
    operations = 3 * (2 * 16 * 5)
    for line in lines:
        expected = operations * line["steps_per_second"] / CHIPS["v5e"].flops
        assert line["utilization"] == pytest.approx(expected)
    assert list((tmp_path / "profile").rglob("*.trace.json.gz"))
