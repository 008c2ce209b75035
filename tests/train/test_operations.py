"""Operations counted in jaxprs."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxmodels import ops
from jaxmodels.data import Resident
from jaxmodels.models.language_models import LanguageModels
from jaxmodels.models.layers.attention import attention
from jaxmodels.models.options import with_options
from jaxmodels.objectives.language_model import LanguageModel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.train import configure, operations
from jaxmodels.train.chips import CHIPS, chip_of
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.operations import count_operations
from jaxmodels.train.program import TrainProgram
from tests.train.toys import CONFIG, experiment, regression, train_toy


def _counts(function, *arrays):
    return count_operations(jax.make_jaxpr(function)(*arrays).jaxpr)


def _count(function, *arrays):
    counts = _counts(function, *arrays)
    assert counts.needed == counts.computed
    return counts.computed


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


LENGTH, WIDTH, HEADS, BATCH, WORDS = 256, 32, 4, 2, 11
ALL_KINDS = [
    # Products over all pairs of a step that the kind computes, forward and backward.
    ("einsum", 2 + 4),
    ("blocks", (2 + 4) * 5 / 8),  # 64 + 128 + 192 + 256 keys for 64 queries each
    ("cudnn", (2 + 5) / 2),
    ("splash", (2 + 7) / 2),
]


@pytest.mark.parametrize(("kind", "computed"), ALL_KINDS)
def test_causal_attention_needs_half_however_it_is_computed(kind, computed, monkeypatch):
    if kind == "cudnn":  # it is traced here, not run
        monkeypatch.setattr(
            "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 92000
        )
    query, key = (jnp.zeros((BATCH, LENGTH, heads, 8), jnp.bfloat16) for heads in (HEADS, 2))
    product = 2 * BATCH * HEADS * 8 * LENGTH**2  # over all pairs

    def gradient(window, causal=True):
        def loss(*arrays):
            out = attention(*arrays, kind=kind, causal=causal, window=window)
            return jnp.sum(jnp.square(out.astype(jnp.float32)))

        return jax.grad(loss, (0, 1, 2))

    # Beside its kernels, splash has one product of rows with rows.
    close = partial(pytest.approx, rel=1e-3 if kind == "splash" else 0)
    counts = _counts(gradient(0), query, key, key)
    assert counts.computed == close(computed * product)
    assert counts.needed == close(6 * product / 2)
    # The triangle of all pairs without the smaller one of those that are too far apart.
    seen = LENGTH**2 / 2 - (LENGTH - 100) ** 2 / 2
    windowed = _counts(gradient(100), query, key, key)
    assert windowed.needed == close(6 * product * seen / LENGTH**2)
    # Of several members, and of a loop that computes it again.
    assert _counts(jax.vmap(gradient(0)), *(x[None].repeat(3, 0) for x in (query, key, key))) == (
        3 * counts.computed,
        3 * counts.needed,
    )
    if kind == "einsum":
        assert _counts(gradient(0, causal=False), query, key, key) == (6 * product, 6 * product)


def test_a_fused_kernel_that_is_not_known_is_an_error(monkeypatch):
    monkeypatch.delitem(operations._KERNELS, "splash_mha_fwd")
    x = jnp.zeros((1, 128, 2, 8), jnp.bfloat16)
    with pytest.raises(ValueError, match="kernel = splash_mha_fwd_no_residuals; expected one of"):
        _counts(lambda x: attention(x, x, x, kind="splash"), x)


MODELS = [
    ("gpt2", {"layers": 2, "heads": 4}, "einsum", "none"),
    pytest.param(
        "gpt",
        {"depth": 2, "head_size": 8, "window_pattern": "SL", "value_embeddings": False},
        "blocks",
        "full",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("model", "options", "kind", "remat"), MODELS)
def test_a_step_needs_what_the_closed_form_says(model, options, kind, remat):
    models = with_options(LanguageModels(model=model, attention=kind), width=WIDTH, **options)
    sgd = OptimizerConfig(optimizer="momentum", schedule="constant")
    objective = LanguageModel(models.create(WORDS, LENGTH), sgd, 1)
    source = Resident({"tokens": np.zeros((BATCH, LENGTH + 1), np.int32)})
    program = TrainProgram(objective, source, BATCH, 1, 0, make_mesh("data=1"), remat=remat)
    counts = program.operations()
    # Chowdhery et al. 2022, PaLM, appendix B, with causal attention halved: a token takes 2 for
    # each number of a kernel forward and 4 backward, a pair likewise for each number of the width,
    # twice.
    kernels = 2 * 12 * WIDTH**2 + WIDTH * WORDS
    unseen = (LENGTH - LENGTH // 4) ** 2 if model == "gpt" else 0
    pairs = (2 * LENGTH**2 - unseen) / 2
    assert counts.needed == BATCH * (6 * kernels * LENGTH + 6 * 2 * WIDTH * pairs)
    if model == "gpt2":
        assert counts.computed - counts.needed == BATCH * 6 * 2 * WIDTH * pairs
    else:  # Blocks of 64 queries see the keys of whole blocks, and of the window before them.
        seen = 64 * (64 + 3 * 127) + 64 * (64 + 128 + 192 + 256)
        # All of a block again but for its last product, which nothing reads.
        twice = BATCH * 2 * (2 * 8 * WIDTH**2 * LENGTH + 2 * WIDTH * seen)
        over = BATCH * 6 * 2 * WIDTH * (seen - pairs)
        assert counts.computed - counts.needed == over + twice


@pytest.mark.parametrize(("remat", "most"), [("none", 1), ("full", 2)])
def test_a_step_is_traced_once_for_its_shapes_its_program_and_its_count(remat, most):
    toy = experiment(regression())
    traced = []

    def step(*arguments):
        traced.append(arguments)
        return toy.objective.step(*arguments)

    objective = toy.objective._replace(step=step)
    program = TrainProgram(objective, toy.train, 16, 1, 0, make_mesh("data=1"), remat=remat)
    program.compile()
    program.operations()
    assert len(traced) == most


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
        assert line["mfu"] == pytest.approx(expected)
        assert line["mfu_counts"] == "causal attention half, nothing that is computed again"
        assert "tokens_per_second" not in line
    assert list((tmp_path / "profile").rglob("*.trace.json.gz"))
