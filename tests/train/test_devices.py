"""One device equals eight, and each of the eight does an eighth of the work."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.data import Resident
from jaxmodels.models.classifiers import create_model
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.train.evaluation import SplitProgram
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.program import TrainProgram
from tests.marks import campaign, slow

# The batch is of a size that no axis of channels has.
BATCH, STEPS = 40, 20
needs_8 = pytest.mark.skipif(jax.device_count() != 8, reason="needs 8 simulated devices")


def _source(count=101):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, count).astype(np.int32)
    images = generator.normal(size=(count, 8, 8, 1)) + labels[:, None, None, None]
    return Resident({"image": images.astype(np.float32), "label": labels})


def _program(devices, model="cnn", parallel="jit", **options):
    # SGD: Adam would amplify the noise of gradients that are zero in truth.
    optimizer = OptimizerConfig(optimizer="momentum", learning_rate=0.02)
    network = create_model(model, classes=4, hidden=(24,), **options)
    rates = {"dropout": 0.3, "ema": 0.9, "label_smoothing": 0.1}
    objective = Classifier(network, 4, optimizer, steps=STEPS, **rates)
    mesh = make_mesh(f"data={devices}")
    program = TrainProgram(objective, _source(), BATCH, STEPS, seed=3, mesh=mesh, parallel=parallel)
    return program, objective, mesh


@cache
def _trained(devices, parallel, batch_norm):
    program, objective, mesh = _program(devices, parallel=parallel, batch_norm=batch_norm)
    state, window = program.advance(program.create(), program.zeros(), 0, STEPS)
    split = SplitProgram(_source(53), 20, program.keys.evaluate, mesh)
    sums, outputs = split.sum(objective.evaluate, state), split.map(objective.predict, state)
    return state, window, sums, outputs


@needs_8
@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize(
    ("devices", "parallel", "batch_norm"),
    [
        (8, "jit", True),
        slow(8, "pmap", True),
        slow(8, "jit", False),
        campaign(8, "pmap", False),
        campaign(1, "pmap", False),
        campaign(1, "pmap", True),
        campaign(2, "pmap", False),
        campaign(2, "pmap", True),
    ],
)
def test_other_devices_give_what_one_gives(batch_norm, devices, parallel):
    """Dropout, average and batch statistics included; and so do evaluations of the result."""
    results = [_trained(1, "jit", batch_norm), _trained(devices, parallel, batch_norm)]
    for one, eight in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, eight, rtol=1e-3, atol=2e-5)
    confusion = results[0][2].confusion
    assert confusion.sum() == 53
    np.testing.assert_array_equal(confusion, results[1][2].confusion)


def _shapes(text):
    """Sizes of the leading axis of every array of images or activations in a program."""
    return {int(size) for size in re.findall(r"f32\[(\d+),(?:8,8|4,4),\d+\]", text)}


@pytest.mark.slow
@needs_8
@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_each_device_runs_its_share_and_no_batch_is_gathered(parallel):
    program, _, _ = _program(8, parallel=parallel)
    text = program.text()
    assert "all-gather" not in text
    assert "all-to-all" not in text
    assert "all-reduce" in text
    assert BATCH // 8 in _shapes(text)
    assert BATCH not in _shapes(text)
    # The same reading does see the whole batch where it is run whole.
    assert BATCH in _shapes(_program(1)[0].text())


@needs_8
@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_every_device_has_the_whole_state(parallel):
    program, _, _ = _program(8, parallel=parallel)
    state, _ = program.advance(program.create(), program.zeros(), 0, 3)
    for leaf in jax.tree.leaves(state):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == 8
        assert all(np.array_equal(copies[0], copy) for copy in copies[1:])


def test_seeds_share_one_program_but_not_their_numbers(monkeypatch):
    texts, kernels = set(), []
    compile_lowered = jax.stages.Lowered.compile

    def compile_and_note(lowered, **options):
        if "module @jit_chunk" in lowered.as_text():
            texts.add(lowered.as_text())
        return compile_lowered(lowered, **options)

    _, objective, mesh = _program(1, "mlp")
    monkeypatch.setattr(jax.stages.Lowered, "compile", compile_and_note)
    for seed in (1, 2):
        program = TrainProgram(objective, _source(), BATCH, 4, seed, mesh)
        program.compile()
        kernels.append(jnp.ravel(program.create()["params"]["Dense_0"]["kernel"]))
    assert len(texts) == 1
    assert not np.allclose(kernels[0], kernels[1])
