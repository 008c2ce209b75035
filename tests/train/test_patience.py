"""When a run ends for want of patience, and test scored at the checkpoint that validation chose."""

import json

import jax
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.report.run import read_run
from jaxmodels.run_record import reason_to_end, stale_since
from jaxmodels.train import Findings, configure, loop, modes
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.soundness import soundness_of
from tests.marks import slow
from tests.train.toys import CONFIG, experiment, regression, train_toy

# Of validation by step: the best is at 10.
SCORES = {5: 2.0, 10: 3.0, 15: 2.9, 20: 1.0, 25: 2.5, 30: 9.0}
PATIENT = configure(CONFIG, eval_every=5, patience=3, checkpoint_every=10, log_every=5)


class _Killed(BaseException):
    """What no handler of errors catches, as SIGKILL."""


def toy(dies_at=None, **changes):
    """Regression that is monitored by made-up scores; killed in an evaluation of (step, split)."""

    def after_evaluation(evaluation):
        if (evaluation.step, evaluation.split) == dies_at:
            raise _Killed
        record = {"step": evaluation.step, "occasion": evaluation.occasion}
        return Findings({"score": SCORES.get(evaluation.step, 0.0)}, record)

    made = experiment(regression(noise=0.1), monitor="score", after_evaluation=after_evaluation)
    return made._replace(**changes)


def same(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in leaves)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that ended early and to which nothing else happened."""
    path = tmp_path_factory.mktemp("whole")
    return path, train_toy(path, toy(), PATIENT)


def test_it_ends_after_so_many_evaluations_without_a_better_score(whole):
    path, result = whole
    assert (result.step, result.finished, result.trained) == (25, True, True)
    assert result.reason == (
        "validation score has not improved in 3 evaluations, since step 10 (patience 3)"
    )
    status = json.loads((path / "status.json").read_text())
    assert (status["status"], status["step"]) == ("finished", 25)
    assert status["reason"] == result.reason
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "validation"] == [5, 10, 15, 20, 25]
    assert [line["step"] for line in lines if line["split"] == "test"] == [25]
    found = json.loads((path / "evaluation.json").read_text())
    assert found["validation"] == found["validation"] | {"step": 25, "occasion": "last"}
    assert read_run(path).status == ("finished early, at step 25 of 60", "good")
    assert soundness_of(RunFolder(path)).damage == []


def test_the_same_command_leaves_it_alone(whole):
    path, result = whole
    before = (path / "status.json").read_bytes()
    again = train_toy(path, toy(), PATIENT)
    assert (again.step, again.finished, again.trained) == (25, True, False)
    assert again.reason == result.reason and same(again.state, result.state)
    assert (path / "status.json").read_bytes() == before


@pytest.mark.parametrize(
    "dies_at", [slow((15, "validation")), slow((25, "validation")), (25, "test")]
)
def test_a_killed_run_ends_at_the_same_step_with_the_same_bits(tmp_path, whole, dies_at):
    with pytest.raises(_Killed):
        train_toy(tmp_path, toy(dies_at), PATIENT)
    result = train_toy(tmp_path, toy(), PATIENT)
    assert result.step == 25 and same(result.state, whole[1].state)
    for name in ("metrics.jsonl", "evaluation.json"):
        assert (tmp_path / name).read_bytes() == (whole[0] / name).read_bytes()


@pytest.mark.slow
def test_more_patience_goes_on(tmp_path, whole):
    train_toy(tmp_path / "parts", toy(), PATIENT)
    longer = configure(PATIENT, patience=4)
    parts = train_toy(tmp_path / "parts", toy(), longer)
    at_once = train_toy(tmp_path / "once", toy(), longer)
    assert parts.step == at_once.step and same(parts.state, at_once.state)
    assert (
        json.loads((tmp_path / "parts" / "evaluation.json").read_text())["best/test"]["step"] == 30
    )


def test_patience_needs_validation_and_writes_nothing_without(tmp_path):
    made = toy()
    made = made._replace(evaluation={"test": made.evaluation["test"]})
    with pytest.raises(InputError, match=r"patience = 3; expected a validation split.*are test"):
        train_toy(tmp_path / "run", made, PATIENT)
    assert not (tmp_path / "run").exists()


def test_test_is_scored_at_the_checkpoint_that_validation_chose(whole):
    path, _ = whole
    best = json.loads((path / "evaluation.json").read_text())["best/test"]
    assert (best["step"], best["last_step"]) == (10, 25)
    folder, config = RunFolder(path), configure(PATIENT, checkpoint="best")
    trainer = loop.Trainer(toy(), config, folder)
    state = trainer.restored().tree["state"]
    assert best["scores"] == trainer.score("test", state, 10, "asked", {})[0]
    line = modes.evaluate(toy(), config, folder)
    assert f"test/loss={best['scores']['loss']:.5g}" in line
    summary = folder.summary(25)
    assert "best/step=10 best/score=3 workdir=" in summary
    run = read_run(path)
    assert run.best_scores == best["scores"] and run.best_step == 10


def test_where_the_last_checkpoint_is_the_best_nothing_is_scored_twice(tmp_path):
    seen = []

    def after_evaluation(evaluation):
        seen.append((evaluation.step, evaluation.split))
        return Findings({"score": float(evaluation.step)})

    train_toy(tmp_path, toy(after_evaluation=after_evaluation))
    assert seen.count((60, "test")) == 1 and len(seen) == 4
    best = json.loads((tmp_path / "evaluation.json").read_text())["best/test"]
    assert (best["step"], best["last_step"], best["monitor"]) == (60, 60, "score")
    assert best["scores"]["loss"] == read_run(tmp_path).last("test")["loss"]


def test_a_best_checkpoint_that_is_gone_leaves_its_scores_out(tmp_path, monkeypatch, capsys):
    steps = Checkpoints.steps
    monkeypatch.setattr(Checkpoints, "steps", lambda self: [s for s in steps(self) if s != 10])
    assert train_toy(tmp_path, toy(), PATIENT).finished
    assert "note: test is not scored at the best checkpoint" in capsys.readouterr().err
    assert "best/" not in RunFolder(tmp_path).summary(25)


def test_equal_scores_and_such_as_are_not_finite_are_no_improvement():
    lines = [
        {"step": step, "split": "validation", "loss": loss}
        for step, loss in enumerate([None, 2.0, 1.0, 1.0, None, 1.5])
    ]
    assert stale_since(lines, "loss", "min") == (3, 2)
    assert stale_since(lines[:1], "loss", "min") is None
    assert reason_to_end(lines, 5, ("loss", "min"), 3)
    assert reason_to_end(lines, 4, ("loss", "min"), 3) is None
    assert reason_to_end(lines, 5, ("loss", "min"), 3, ("validation", "test")) is None
