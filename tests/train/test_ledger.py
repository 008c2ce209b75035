"""Where the time of a run goes, over its processes."""

import json

import pytest

from jaxmodels.report.goodput import goodput_of
from jaxmodels.train import configure, ledger
from jaxmodels.train.ledger import Ledger, lost_steps
from tests.train.toys import CONFIG, experiment, regression, train_toy


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when it is told to."""

    class Clock:
        now = 1000.0

        def time(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(ledger, "time", clock)
    monkeypatch.setattr(ledger, "_BEGAN", 990.0)
    return clock


def test_every_second_is_counted_once(clock):
    kept = Ledger()
    with kept.spent("evaluating"):
        clock.now += 5
        with kept.spent("saving"):
            clock.now += 2
        clock.now += 1
    clock.now += 20
    kept.waited = lambda: 4.0
    kept.lost = 10
    session = kept.session(first=100, step=140)
    assert session["seconds"] == {
        "starting": 10,
        "evaluating": 6,
        "saving": 2,
        "waiting": 4,
        "training": 12,
        "repeating": 4,  # 10 of 40 steps
    }
    assert sum(session["seconds"].values()) == clock.now - 990
    assert (session["began"], session["first"], session["step"]) == (990, 100, 140)


def test_steps_beyond_the_checkpoint_are_lost():
    assert lost_steps([], 0) == 0
    assert lost_steps([{"step": 30}, {"step": 50}], 45) == 5
    assert lost_steps([{"step": 50}], 50) == 0


@pytest.mark.slow
def test_a_run_keeps_the_sessions_of_all_its_processes(tmp_path):
    toy = experiment(regression())
    train_toy(tmp_path, toy, configure(CONFIG, steps=30))
    train_toy(tmp_path, toy)
    sessions = json.loads((tmp_path / "goodput.json").read_text())["sessions"]
    assert [(each["first"], each["step"]) for each in sessions] == [(0, 30), (30, 60)]
    parts = {"starting", "compiling", "restoring", "evaluating", "saving", "training"}
    assert all(parts <= each["seconds"].keys() for each in sessions)
    page = str(goodput_of(tmp_path))
    assert "training" in page and "steps that count" in page and "repeating" not in page
    (tmp_path / "goodput.json").write_text('{"sessions": [{"seconds": {"training": "x"}}, 3]}')
    assert goodput_of(tmp_path) is None
