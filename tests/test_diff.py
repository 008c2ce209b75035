"""python -m jaxmodels.diff: what differs between two runs, and from which step on."""

import json
import shutil

import pytest

from jaxmodels import diff
from jaxmodels.run_record import seal_record
from jaxmodels.train import configure, train
from tests.train.toy_script import ToyConfig, build


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("diff")
    for name, flags in {"a": {}, "again": {}, "b": {"seed": 1, "log_every": 8}}.items():
        train(build, configure(ToyConfig(), workdir=str(path / name), **flags))
    return path


def compared(capsys, first, second):
    code = diff.main([str(first), str(second)])
    printed = capsys.readouterr()
    return code, [" ".join(line.split()) for line in (printed.out + printed.err).splitlines()]


def test_the_same_run_twice_has_no_difference(folder, capsys):
    code, printed = compared(capsys, folder / "a", folder / "again")
    assert code == 0
    assert printed[2] == "no result differs: 6 states, 8 lines of metrics, 2 checkpoints"


def test_flags_states_lines_and_arrays_are_compared(folder, capsys):
    code, printed = compared(capsys, folder / "a", folder / "b")
    assert code == 1
    assert printed[2:6] == [
        "flags that make another run: A B",
        "seed 0 1",
        "other flags: A B",
        "log_every 4 8",
    ]
    assert printed[6].startswith("states: first differ at step 8 (")
    assert printed[6].endswith("; 3 of 3 common log lines differ")
    assert printed[7].startswith(
        "metrics: 5 of 5 common lines differ, first that of train at step 8: loss"
    )
    assert printed[8] == "metrics: 3 lines in A alone, first at step 4"
    assert printed[9] == "checkpoint 16: 1 of 5 arrays differ: state.w"
    assert printed[10] == "checkpoint 24: 1 of 5 arrays differ: state.w"
    assert len(printed) == 11


def test_the_first_step_that_differs_is_named(folder, tmp_path, capsys):
    run = shutil.copytree(folder / "a", tmp_path / "run")
    lines = [json.loads(line) for line in (run / "speed.jsonl").read_text().splitlines()]
    lines[3]["state"] = "f" * 16
    (run / "speed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, printed = compared(capsys, folder / "a", run)
    assert code == 1
    assert printed[2].startswith("states: the same up to step 12, first differ at step 16 (")
    assert len(printed) == 3


def test_code_environment_and_data_are_compared(folder, tmp_path, capsys):
    run = shutil.copytree(folder / "a", tmp_path / "run")
    record = json.loads((run / "config.json").read_text())
    record["source"] = "other"
    record["environment"]["packages"]["jax"] = "9"
    record["environment"]["settings"]["jax_enable_x64"] = "True"
    record["facts"]["data"]["rows"] = 401
    del record["environment"]["threads"]
    (run / "config.json").write_text(json.dumps(seal_record(record)))
    code, printed = compared(capsys, folder / "a", run)
    assert code == 1
    assert printed[2] == "code: A B"
    assert printed[3].startswith("source ") and printed[3].endswith(" other")
    assert printed[5].startswith("packages.jax ") and printed[5].endswith(" 9")
    assert printed[6] == "settings.jax_enable_x64 False True"
    assert printed[7:9] == ["data: A B", "data.rows 400 401"]
    assert printed[9] == "no result differs: 6 states, 8 lines of metrics, 2 checkpoints"


def test_what_is_no_run_or_damaged_is_bad_input(folder, tmp_path, capsys):
    code, printed = compared(capsys, folder / "a", tmp_path)
    assert (code, len(printed)) == (2, 1)
    assert "config.json is not the record of a run" in printed[0]
    run = shutil.copytree(folder / "a", tmp_path / "run")
    (run / "checkpoints" / "16" / "_CHECKPOINT_METADATA").write_text("{")
    code, printed = compared(capsys, folder / "a", run)
    assert (code, len(printed)) == (2, 1)
    assert "checkpoints/16 is damaged" in printed[0]
