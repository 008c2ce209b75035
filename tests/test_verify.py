"""python -m jaxmodels.verify: what is reproduced, what is not, and what is damaged."""

import json
import shutil

import jax
import numpy as np
import pytest

from jaxmodels import replay, verify
from jaxmodels.order import Order
from jaxmodels.train import configure, train
from tests.train import toy_script
from tests.train.toy_script import ToyConfig, build

MODULE = ("--module", "tests.train.toy_script")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "run"
    train(build, configure(ToyConfig(), workdir=str(path)))
    return path


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def verified(capsys, *arguments):
    code = verify.main([str(argument) for argument in (*arguments, *MODULE)])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def contents(folder):
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


def changed_line(path, at, **values):
    lines = path.read_text().splitlines()
    lines[at] = json.dumps(json.loads(lines[at]) | values)
    path.write_text("\n".join(lines) + "\n")


def test_a_run_is_reproduced_and_left_as_it_is(run, capsys):
    before = contents(run)
    code, printed = verified(capsys, run, "--steps", "8")
    assert code == 0, printed
    assert "files as written: 2 checkpoints" in printed
    assert "steps 0 to 8: reproduced (states: 2, lines of metrics: 2" in printed
    assert "steps 16 to 24: reproduced (states: 2, lines of metrics: 2, checkpoints: 1)" in printed
    assert "note:" not in printed
    assert contents(run) == before


def test_a_resumed_run_with_other_periods_is_reproduced(tmp_path, capsys):
    path = tmp_path / "run"
    train(build, configure(ToyConfig(), workdir=str(path), steps=10))
    train(build, configure(ToyConfig(), workdir=str(path), log_every=3, steps=19, patience=5))
    code, printed = verified(capsys, path, "--steps", "6", "--seed", "3")
    assert code == 0, printed
    assert "NOT" not in printed


@pytest.mark.parametrize(
    ("name", "at", "values", "message"),
    [
        ("speed.jsonl", 0, {"state": "0" * 16}, "first at step 4: the state is"),
        ("speed.jsonl", 4, {"state": "0" * 16}, "first at step 20: the state is"),
        ("metrics.jsonl", 0, {"loss": 1.0}, "first at step 4: in metrics.jsonl loss is"),
    ],
)
def test_what_was_recorded_otherwise_is_not_reproduced(run, capsys, name, at, values, message):
    changed_line(run / name, at, **values)
    code, printed = verified(capsys, run)
    assert code == 1
    assert message in printed
    assert ("DAMAGED" in printed) == (name == "metrics.jsonl")


def test_other_numbers_are_told_by_step_array_and_size(run, capsys, monkeypatch):
    monkeypatch.setattr(toy_script, "RATE", 0.05001)
    code, printed = verified(capsys, run, "--steps", "8")
    assert code == 1
    assert "steps 16 to 24: NOT reproduced, first at step 20: the state is" in printed
    arrays = "step 24: 1 of 5 arrays of the checkpoint differ: state.w; by at most "
    assert arrays in printed
    largest = float(printed.split(arrays)[1].split(",")[0])
    assert 0 < largest < 1e-3


def test_damage_is_found_without_code_or_data(run, capsys):
    assert verify.main([str(run), "--files-only"]) == 0
    saved = max((run / "checkpoints" / "16").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(saved.read_bytes())
    # Many bytes, since some of a file belong to no array.
    for at in range(len(content) // 4, 3 * len(content) // 4):
        content[at] ^= 1
    saved.write_bytes(content)
    record = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(record | {"source": "edited"}))
    (run / "evaluation.json").write_text("{}")
    with open(run / "speed.jsonl", "a") as file:
        file.write(json.dumps({"step": 8, "state": "f" * 16}) + "\n")
    capsys.readouterr()
    assert verify.main([str(run), "--files-only"]) == 1
    printed = capsys.readouterr().out
    for damage in (
        "checkpoints/16 is damaged",
        "config.json is not the record of a run: it was changed",
        "evaluation.json is not what was written",
        "has two states of step 8",
    ):
        assert damage in printed
    assert printed.count("DAMAGED") == 4


def test_numbers_of_64_bits_are_no_damage(tmp_path, capsys):
    with jax.enable_x64(True):
        train(build, configure(ToyConfig(), workdir=str(tmp_path / "run"), steps=8))
    assert verify.main([str(tmp_path / "run"), "--files-only"]) == 0
    code, printed = verified(capsys, tmp_path / "run")
    assert code == 1
    assert "note: jax_enable_x64 True -> False since the run began" in printed
    assert "steps 0 to 4: NOT reproduced" in printed


def test_missing_lines_are_damage(run, capsys):
    text = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(text[:-1]))
    code, printed = verified(capsys, run)
    assert code == 1
    assert "does not begin with the 8 lines that the checkpoint of step 24 stands for" in printed


@pytest.mark.slow
def test_a_run_that_left_batches_out_is_reproduced(tmp_path, capsys):
    rows = Order(400, 16, 0).rows(0, 25)
    poisoned = int(rows[9][~np.isin(rows[9], rows[10:])][0])
    flags = {"poisoned": poisoned, "on_nonfinite": "rollback", "workdir": str(tmp_path / "run")}
    train(build, configure(ToyConfig(), **flags, steps=12, checkpoint_every=4))
    for seed in range(3):
        code, printed = verified(capsys, tmp_path / "run", "--seed", seed)
        assert code == 0, printed


def test_what_cannot_be_opened_is_said_in_one_line(run, tmp_path, capsys):
    assert verify.main([str(run)]) == 2
    assert "module experiments.toy cannot be imported" in capsys.readouterr().err
    assert verify.main([str(run), "--module", "tests.train.toys"]) == 2
    assert "has no Config with experiment = 'toy'" in capsys.readouterr().err
    assert verify.main([str(tmp_path / "none"), *MODULE]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert verify.main([str(run), *MODULE, "--steps", "2"]) == 2
    assert "expected at least 4" in capsys.readouterr().err
    assert verify.main([str(run), *MODULE, "--data-dir", "elsewhere"]) == 2
    assert "unknown flag 'data_dir'" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_is_found_by_its_name(tmp_path, capsys, monkeypatch):
    from experiments import classifier

    monkeypatch.setattr(classifier, "report", lambda *given: None)  # draws pictures
    flags = {"model": "mlp", "hidden": (8,), "mesh": "data=1", "workdir": str(tmp_path / "run")}
    flags |= {"log_every": 2, "checkpoint_every": 2, "batch_size": 32}
    train(classifier.build, configure(classifier.ClassifierConfig(), steps=4, **flags))
    assert verify.main([str(tmp_path / "run")]) == 0
    assert "steps 2 to 4: reproduced" in capsys.readouterr().out
    assert replay.main([str(tmp_path / "run"), "--step", "3", "--top", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("from checkpoint 2; recorded states on the way: none")
    assert printed[2].split() == ["loss", "gradient_norm", "label", "row"]
    assert len(printed) == 5
