"""Language modelling: the loss of the tokens that are scored, whatever divides the batch."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from jaxmodels.data import Resident
from jaxmodels.models.language_models import create_language_model
from jaxmodels.objectives.language_model import LanguageModel
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram

BATCH, LENGTH, WORDS, STEPS = 8, 6, 11, 3
KEY = jax.random.key(0)
SGD = OptimizerConfig(optimizer="momentum", learning_rate=0.5, schedule="constant")
SIZES = {"layers": 1, "width": 8, "heads": 2}
needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


def _model(**options):
    return create_language_model("gpt2", WORDS, LENGTH, **SIZES, **options)


def _objective(**options):
    return LanguageModel(_model(), SGD, STEPS, **options)


def _columns(count=BATCH, seed=0):
    """Windows of which another number is scored in each, and nothing at all in the first."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(0, WORDS, (count, LENGTH + 1)).astype(np.int32)
    scored = np.arange(LENGTH) >= generator.integers(0, LENGTH + 1, count)[:, None]
    scored[0] = False
    return {"tokens": tokens, "scored": scored}


@cache
def _params():
    tokens = jnp.zeros((1, LENGTH), jnp.int32)
    params = _model().init(KEY, tokens)["params"]
    # Larger than at first, so that the blocks matter.
    return jax.tree.map(lambda leaf: 5 * leaf, params)


def _expected(params, batch, z_loss=0.0):
    """Mean loss by all logits; and the cross-entropies."""
    logits = _model().apply({"params": params}, batch["tokens"][:, :-1])
    normalizer = logsumexp(logits, axis=-1)
    true = jnp.take_along_axis(logits, batch["tokens"][:, 1:, None], axis=-1)[..., 0]
    losses, scored = normalizer - true, batch["scored"]
    total = jnp.sum(scored * (losses + z_loss * normalizer**2))
    return total / jnp.sum(scored), losses


def _of_step(objective, batch):
    numbers = {name: jnp.float32(n) for name, n in objective.hyperparameters.items()}
    loss, _, metrics = objective.loss(numbers, _params(), {}, batch, KEY)
    return loss, metrics


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_the_loss_is_the_mean_over_the_tokens_that_are_scored(z_loss):
    batch = jax.tree.map(jnp.asarray, _columns())
    loss, metrics = _of_step(_objective(z_loss=z_loss), batch)
    wanted, losses = _expected(_params(), batch, z_loss)
    assert loss.value() == pytest.approx(float(wanted), rel=1e-5)
    scored = np.asarray(batch["scored"])
    assert metrics["loss"].value() == pytest.approx(float(losses[scored].mean()), rel=1e-5)
    assert int(loss.count) == int(metrics["accuracy"].count) == scored.sum()


def test_evaluation_sums_over_the_scored_tokens_of_valid_windows():
    objective, columns = _objective(), _columns()
    state = _state(objective)
    valid = np.arange(BATCH) % 3 > 0
    batch = jax.tree.map(jnp.asarray, columns | {"valid": valid})
    sums = objective.evaluate(state, batch, KEY)
    counted = columns["scored"] & valid[:, None]
    losses = np.asarray(_expected(_params(), batch)[1])
    assert int(sums.loss.count) == counted.sum()
    assert objective.summarize(sums)["loss"] == pytest.approx(losses[counted].mean(), rel=1e-5)
    nats = objective.predict(state, batch, KEY)["nats"]
    np.testing.assert_allclose(nats, (losses * columns["scored"]).sum(1), rtol=1e-5)
    # The same windows as two of four examples each.
    paired = {name: jnp.reshape(batch[name], (4, 2, -1)) for name in ("tokens", "scored")}
    found = objective.predict_windows(state, {**paired, "bytes": jnp.arange(4)}, KEY)
    np.testing.assert_allclose(found["nats"], nats.reshape(4, 2).sum(1), rtol=1e-6)


def _state(objective):
    spec = Resident(_columns()).spec(BATCH)
    return {**objective.init(KEY, spec, objective.hyperparameters), "params": _params()}


def test_attention_stays_inside_of_documents():
    """The tokens of the first document change nothing in the second."""
    columns = _columns() | {"scored": np.arange(LENGTH) >= np.full((BATCH, 1), 3)}
    columns["document"] = np.broadcast_to(np.arange(LENGTH + 1) // 3, (BATCH, LENGTH + 1))
    batch = jax.tree.map(jnp.asarray, columns)
    other = {**batch, "tokens": batch["tokens"].at[:, :3].add(1) % WORDS}
    assert float(_of_step(_objective(), batch)[0].total) == float(
        _of_step(_objective(), other)[0].total
    )
    del batch["document"], other["document"]
    assert _of_step(_objective(), batch)[0].total != _of_step(_objective(), other)[0].total


@pytest.mark.parametrize("accumulate", [1, 2])
def test_losses_of_examples_have_the_loss_as_their_mean(accumulate):
    objective = _objective(accumulate=accumulate)
    batch = jax.tree.map(jnp.asarray, _columns())
    params, losses = objective.losses(_state(objective), batch, KEY)
    wanted = _expected(params, batch)[0]
    assert float(losses(params).mean()) == pytest.approx(float(wanted), rel=1e-5)
    assert losses(params)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "parallel", "accumulate"),
    [(8, "jit", 1), pytest.param(8, "pmap", 1, marks=pytest.mark.slow), (1, "jit", 4)],
)
@needs_8
def test_parts_and_devices_give_what_the_whole_gives(devices, parallel, accumulate):
    one, sums = _trained(1, "jit", 1)
    other, window = _trained(devices, parallel, accumulate)
    for a, b in zip(jax.tree.leaves(one["params"]), jax.tree.leaves(other["params"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert window["loss"].value() == pytest.approx(sums["loss"].value(), rel=1e-5)
    assert int(window["loss"].count) == int(sums["loss"].count)
    assert window["gradient_norm"].value() == pytest.approx(sums["gradient_norm"].value(), rel=1e-4)
    names = set(LanguageModel.summarize(sums))
    assert names == set(_objective().scores) and "norm/block_0" in names


@cache
def _trained(devices, parallel, accumulate):
    objective = _objective(accumulate=accumulate)
    source = Resident(_columns(3 * 32, seed=1))
    mesh = make_mesh(f"data={devices}")
    program = TrainProgram(objective, source, 32, STEPS, seed=1, mesh=mesh, parallel=parallel)
    return program.advance(program.create(), program.zeros(), 0, STEPS)


@pytest.mark.slow
def test_a_wider_model_starts_and_steps_as_its_base_says():
    """Table 8 of Tensor Programs V: hidden kernels step 1 / width, outputs are divided by it."""
    narrow, wide = (
        _model(),
        create_language_model("gpt2", WORDS, LENGTH, layers=1, width=32, heads=8),
    )
    adam = OptimizerConfig(optimizer="adam", learning_rate=1e-3, schedule="constant")
    batch = jax.tree.map(jnp.asarray, _columns())
    steps = {}
    for name, base in (("standard", None), ("mup", narrow)):
        objective = LanguageModel(wide, adam, STEPS, base=base)
        state = objective.init(KEY, Resident(_columns()).spec(BATCH), objective.hyperparameters)
        after, _ = jax.jit(objective.step)(state, batch, KEY)
        moved = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), after["params"], state["params"])
        kernel = moved["block_0"]["linear1"]["kernel"], moved["token_embedding"]["embedding"]
        steps[name] = [float(value) for value in kernel]
    assert steps["standard"] == pytest.approx([1e-3, 1e-3], rel=1e-2)
    assert steps["mup"] == pytest.approx([1e-3 / 4, 1e-3], rel=1e-2)
    assert objective.network.output_scale == 1 / 4
    same = LanguageModel(narrow, adam, STEPS, base=narrow)
    assert same.network.output_scale == 1
