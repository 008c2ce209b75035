"""The three verbs of an evaluation, and what becomes of its findings."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxmodels.data import Resident
from jaxmodels.errors import InputError
from jaxmodels.train import Findings, configure
from jaxmodels.train.evaluation import SplitProgram, map_examples
from jaxmodels.train.layout import make_mesh
from tests.train.toys import CONFIG, experiment, regression, train_toy, two_players

VALUES = np.arange(37, dtype=np.int32)


def _split(batch_size=8, devices=8, values=VALUES):
    mesh = make_mesh(f"data={devices}")
    return SplitProgram(Resident({"y": values}), batch_size, jax.random.key(0), mesh)


def total(state, batch, key):
    """Only what is valid counts."""
    return {"sum": jnp.sum(jnp.where(batch["valid"], batch["y"], 0)), "count": batch["valid"].sum()}


@pytest.mark.parametrize("batch_size", [1, 8, 500])
@pytest.mark.parametrize("devices", [1, 8])
def test_any_function_is_summed_over_all_examples_once(batch_size, devices):
    sums = _split(batch_size, devices).sum(total, {})
    assert (sums["sum"], sums["count"]) == (VALUES.sum(), 37)


def test_sums_are_64_bits_wide_on_the_host(monkeypatch):
    """Each call of the program adds in 32 bits; what several calls add may be more."""
    monkeypatch.setattr("jaxmodels.train.evaluation.steps_at_once", lambda source, batch_size: 1)
    values = np.full(32, 2**30, np.int32)
    sums = _split(1, 1, values).sum(lambda state, batch, key: {"sum": batch["y"].sum()}, {})
    assert sums["sum"] == 2**35
    assert sums["sum"].dtype == np.int64


def test_any_function_is_mapped_over_all_examples_in_order(monkeypatch):
    def outputs(state, batch, key):
        return {"y": batch["y"] * state["factor"], "at": batch["position"]}

    for most in (1 << 28, 64):  # at once, and in pieces of a batch
        monkeypatch.setattr("jaxmodels.train.evaluation.MOST_SENT", most)
        found = _split().map(outputs, {"factor": jnp.int32(3)})
        np.testing.assert_array_equal(found["y"], 3 * VALUES)
        np.testing.assert_array_equal(found["at"], np.arange(37))
    rows = np.array([5, 2, 36, 99])
    found = _split().map(outputs, {"factor": jnp.int32(3)}, rows)
    np.testing.assert_array_equal(found["y"], [15, 6, 108])
    memory = map_examples(outputs, {"factor": jnp.int32(3)}, {"y": VALUES}, batch_size=16)
    np.testing.assert_array_equal(memory["y"], 3 * VALUES)


def test_a_function_is_compiled_once():
    traced = []

    def count(state, batch, key):
        traced.append(1)
        return {"n": batch["valid"].sum()}

    split = _split()
    for _ in range(3):
        split.sum(count, {})
    assert len(traced) <= 2  # its shapes, and its program


@pytest.mark.slow
def test_draws_are_the_same_on_any_number_of_devices(tmp_path):
    drawn = []

    def note(evaluation):
        drawn.append(evaluation.draw(jax.random.key(3), 5)["images"])

    for devices in (1, 8):
        toy = experiment(two_players(), after_evaluation=note)
        train_toy(tmp_path / str(devices), toy, configure(CONFIG, steps=1, mesh=f"data={devices}"))
    assert len(drawn[0]) == 5
    np.testing.assert_allclose(drawn[0], drawn[-1], rtol=1e-6)


def test_what_has_nothing_to_draw_says_so(tmp_path):
    toy = experiment(regression(), after_evaluation=lambda e: e.draw(jax.random.key(0), 2))
    with pytest.raises(InputError, match=r"^experiment has nothing to sample"):
        train_toy(tmp_path, toy, configure(CONFIG, steps=1))


def _figure():
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, 1])
    return figure


def test_the_engine_writes_all_findings(tmp_path):
    occasions = []

    def findings(evaluation):
        occasions.append((evaluation.step, evaluation.split, evaluation.occasion))
        last = evaluation.occasion == "last"
        return Findings(
            scores={"score": float(evaluation.step)},
            record={"step": evaluation.step, "before": sorted(evaluation.earlier)},
            pictures={
                f"step-{evaluation.step:08d}": _figure,
                "once": None if last else _figure,
                "broken": lambda: 1 / 0,
            },
            texts={"said.txt": f"step {evaluation.step}"},
            sounds={"heard": b"RIFF"},
        )

    toy = experiment(regression(), monitor="score", after_evaluation=findings)
    train_toy(tmp_path, toy)
    assert occasions == [
        (20, "validation", "due"),
        (40, "validation", "due"),
        (60, "validation", "last"),
        (60, "test", "last"),
    ]
    names = {path.name for path in (tmp_path / "samples").iterdir()}
    steps = {f"step-{step:08d}.png" for step in (20, 40, 60)}
    assert names == steps | {"said.txt", "heard.wav"}
    assert (tmp_path / "samples/said.txt").read_text() == "step 60"
    records = json.loads((tmp_path / "evaluation.json").read_text())
    assert records["best"] == records["validation"]
    assert records["test"] == {"step": 60, "before": ["best", "validation"]}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["monitor"] == ["score", "max"]
    assert config["scores"]["loss"]["better"] == "lower"
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["step"], status["processes"]) == ("finished", 60, 1)


def test_the_best_record_is_that_of_the_best_checkpoint(tmp_path):
    scores = {20: 1.0, 40: 3.0, 60: 2.0}
    toy = experiment(regression(), monitor="score")
    toy = toy._replace(
        after_evaluation=lambda e: Findings({"score": scores[e.step]}, {"step": e.step})
    )
    train_toy(tmp_path, toy)
    records = json.loads((tmp_path / "evaluation.json").read_text())
    assert (records["best"]["step"], records["validation"]["step"]) == (40, 60)
