"""python -m jaxmodels.replay: the examples of a step with their losses and gradients."""

import json

import numpy as np
import pytest

from jaxmodels import replay
from jaxmodels.order import Order
from jaxmodels.protocol import Objective
from jaxmodels.train import configure, train
from tests.train import toy_script
from tests.train.toy_script import ToyConfig, build, columns

MODULE = ("--module", "tests.train.toy_script")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("replay") / "run"
    train(build, configure(ToyConfig(), workdir=str(path)))
    return path


def expected(step):
    """Rows, losses and gradients of a step, in float64."""
    rows, data = Order(400, 16, 0).rows(0, step + 1), columns(ToyConfig())
    x, y = data["x"].astype(np.float64), data["y"].astype(np.float64)
    w = np.zeros(3)
    for batch in rows[:step]:
        w -= toy_script.RATE * np.mean(2 * (x[batch] @ w - y[batch])[:, None] * x[batch], axis=0)
    error = x[rows[step]] @ w - y[rows[step]]
    return rows[step], error**2, 2 * error[:, None] * x[rows[step]]


def test_losses_and_gradients_are_those_of_the_step(run, tmp_path, capsys):
    output = tmp_path / "all.jsonl"
    arguments = [str(run), *MODULE, "--step", "21", "--top", "3", "--output", str(output)]
    assert replay.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    rows, losses, gradients = expected(21)
    order = np.argsort(-losses)
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line["row"] for line in found] == rows[order].tolist()
    assert [line["name"] for line in found] == [f"table:{row}" for row in rows[order]]
    np.testing.assert_allclose([line["loss"] for line in found], losses[order], rtol=1e-4)
    norms = np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose([line["gradient_norm"] for line in found], norms[order], rtol=1e-4)
    y = columns(ToyConfig())["y"]
    np.testing.assert_allclose([line["y"] for line in found], y[rows[order]])
    assert printed[0].endswith("from checkpoint 16; recorded states on the way: 1, all the same")
    values = dict(part.split("=") for part in printed[1].removeprefix("batch of 16: ").split())
    assert float(values["loss"]) == pytest.approx(losses.mean(), rel=1e-4)
    norm = np.linalg.norm(gradients.mean(axis=0))
    assert float(values["gradient_norm"]) == pytest.approx(norm, rel=1e-4)
    assert printed[2].split() == ["loss", "gradient_norm", "y", "row", "name"]
    assert printed[3].endswith(f"{rows[order[0]]}  table:{rows[order[0]]}")
    assert len(printed) == 7


def test_a_step_before_all_checkpoints_starts_at_the_beginning(run, capsys):
    assert replay.main([str(run), *MODULE, "--step", "0", "--top", "1"]) == 0
    printed = capsys.readouterr().out
    rows, losses, _ = expected(0)
    assert "from the beginning" in printed
    assert printed.split()[-1] == f"table:{rows[losses.argmax()]}"


def test_the_poisoned_example_comes_first(tmp_path, capsys):
    poisoned = int(Order(400, 16, 0).rows(5, 6)[0][2])
    flags = {"poisoned": poisoned, "on_nonfinite": "skip", "workdir": str(tmp_path / "run")}
    train(build, configure(ToyConfig(), **flags, steps=8))
    output = tmp_path / "all.jsonl"
    arguments = [str(tmp_path / "run"), *MODULE, "--step", "5", "--output", str(output)]
    assert replay.main(arguments) == 0
    first = json.loads(output.read_text().splitlines()[0])
    assert (first["row"], first["loss"]) == (poisoned, None)


def test_another_state_than_the_recorded_one_is_said(run, capsys, monkeypatch):
    monkeypatch.setattr(toy_script, "RATE", 0.05001)
    assert replay.main([str(run), *MODULE, "--step", "22"]) == 0
    assert "the state of step 20 is NOT that of the run" in capsys.readouterr().out


def test_an_objective_without_losses_has_rows_and_scores(run, capsys, monkeypatch):
    monkeypatch.setattr(
        toy_script, "Objective", lambda *given, **more: Objective(*given, losses=None)
    )
    assert replay.main([str(run), *MODULE, "--step", "17", "--top", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("batch of 16: loss=") and "gradient_norm" not in printed[1]
    assert "has no function `losses`" in printed[2]
    assert printed[4].endswith(f"table:{expected(17)[0][0]}")


def test_what_is_no_step_or_no_output_is_bad_input(run, capsys):
    for arguments, message in (
        (["--step", "24"], "step = 24; the run has the steps 0 to 23"),
        (["--step", "-1"], "step = -1"),
        (["--step", "3", "--top", "0"], "top = 0"),
        (["--step", "3", "--output", "all.csv"], "output = all.csv"),
    ):
        assert replay.main([str(run), *MODULE, *arguments]) == 2
        assert message in capsys.readouterr().err
