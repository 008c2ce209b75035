"""What is said while a judge is trained: a step of its own, indented and short."""

import contextlib
import io
from types import SimpleNamespace

import pytest

from experiments.parts import judges
from jaxmodels.train import configure


def test_lines_are_indented_and_scores_are_short():
    stream = io.StringIO()
    said = judges.Indented(stream)
    print("step=50 train/loss=0.1 train/accuracy=0.9", file=said)
    print("note: something\nstep=100 validation/loss=0.2 valid", end="", file=said)
    print("ation/accuracy=0.8 validation/f1=0.7", file=said)
    assert stream.getvalue() == (
        "  note: something\n  step=100 validation/loss=0.2 validation/accuracy=0.8\n"
    )


@pytest.mark.parametrize("begun", [False, True])
def test_a_judge_has_a_heading_and_an_end(tmp_path, monkeypatch, begun):
    def train(build, config, data):
        print("step=2 test/loss=0.5 test/accuracy=0.75 test/f1=0.7")
        return SimpleNamespace(step=2000, scores={"test": {"accuracy": 0.75}})

    monkeypatch.setattr(judges, "train", train)
    if begun:
        (tmp_path / "config.json").write_text("{}")
    config = configure(judges.classifier.ClassifierConfig(), workdir=str(tmp_path))
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        judges._trained(config, SimpleNamespace(name="digits"))
    middle = ["  step=2 test/loss=0.5 test/accuracy=0.75"]
    heading = ["judge: training a classifier of digits, which is kept"]
    end = ["judge: ready at step 2,000, test accuracy 0.75"]
    assert error.getvalue().splitlines() == (middle if begun else heading + middle + end)
    assert not out.getvalue()
