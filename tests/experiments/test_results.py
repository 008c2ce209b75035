"""RESULTS.md is what its sources say, and runs can be recorded."""

import json
import shlex

import pytest

from experiments import results
from experiments.classifier import ClassifierConfig, build
from experiments.presets.classifier import PRESETS
from jaxmodels.report.run import read_run
from jaxmodels.train import configure, main
from jaxmodels.train.config import to_json
from jaxmodels.train.flags import parse
from jaxmodels.train.identity import command_of
from tests.report.folders import write_run


def test_the_page_is_what_its_sources_make():
    """After a change of presets or records: python -m experiments.results."""
    assert results.RESULTS.read_text("utf-8") == results.page(results.RECORDS)


def test_every_preset_says_where_it_is_from_and_what_it_costs():
    for presets in results.all_presets().values():
        for preset in presets.values():
            assert preset.source and preset.expected and preset.cost


@pytest.mark.slow
def test_runs_of_several_seeds_are_recorded_as_one_row(tmp_path, monkeypatch):
    scores = []
    for seed in (0, 1):
        workdir = tmp_path / str(seed)
        words = f"--preset net --mesh data=1 --seed {seed} --data-dir {tmp_path} --workdir"
        assert main(ClassifierConfig, build, PRESETS, [*words.split(), str(workdir)]) == 0
        scores.append(read_run(workdir).last("test")["accuracy"])
    monkeypatch.setattr(results, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    folders = [str(tmp_path / "0"), str(tmp_path / "1")]
    assert results.write_results(["--record", *folders]) == 0
    files = sorted((tmp_path / "records").glob("*.json"))
    records = [json.loads(file.read_text()) for file in files]
    assert [record["seed"] for record in records] == [0, 1]
    assert [record["scores"]["accuracy"] for record in records] == scores
    assert {record["monitor"] for record in records} == {"accuracy"}
    assert all(record["seconds"] > 0 and record["steps"] == 400 for record in records)
    command = "python -m experiments.classifier --preset net --data-dir DIR --mesh data=1"
    assert {" ".join(sorted(record["command"].split())) for record in records} == {
        " ".join(sorted(command.split()))
    }
    text = (tmp_path / "RESULTS.md").read_text()
    (row,) = (line for line in text.splitlines() if records[0]["command"] in line)
    assert f"test: **accuracy {results.spread(scores)}**, loss" in row
    assert "| 400 |" in row and "| 0, 1 |" in row
    assert str(tmp_path) not in text + "".join(file.read_text() for file in files)
    # The same run again replaces its record.
    assert results.record_runs([tmp_path / "0"], tmp_path / "records") == files[:1]
    assert sorted((tmp_path / "records").glob("*.json")) == files


def _words(folder, **flags):
    """The words of the command that is recorded of a run with these flags."""
    config = configure(ClassifierConfig(), **flags)
    recorded = {"config": to_json(config), "command": command_of(config)}
    folder = write_run(folder)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | recorded))
    words = shlex.split(results.command_of(read_run(folder), PRESETS))
    assert words[:3] == ["python", "-m", "experiments.classifier"]
    return words[3:]


def test_a_preset_with_other_values_keeps_them(tmp_path):
    flags = PRESETS["net"].flags | {"preset": "net", "batch_size": 64, "seed": 3}
    words = _words(tmp_path / "run", **flags)
    assert words == ["--preset", "net", "--batch-size", "64"]
    assert parse(ClassifierConfig, PRESETS, words).run.batch_size == 64


def test_a_preset_whose_value_was_set_back_is_written_out(tmp_path):
    flags = PRESETS["net"].flags | {"preset": "net", "pad": ClassifierConfig().pad}
    words = _words(tmp_path / "run", **flags)
    assert "--preset" not in words
    assert parse(ClassifierConfig, PRESETS, words).pad == ClassifierConfig().pad
    assert parse(ClassifierConfig, PRESETS, words).run.batch_size == 32


@pytest.mark.parametrize("flag", ["--data=/home/me/x", "--data /home/me/x", "--data ~/x"])
def test_paths_of_one_machine_are_left_out(tmp_path, flag):
    folder = write_run(tmp_path / "run", command=f"python lab/mine.py {flag} --steps 5")
    words = results.command_of(read_run(folder), {})
    expected = flag.partition("/")[0].rstrip("~") + "PATH"
    assert words == f"python lab/mine.py {expected} --steps 5"


def test_a_call_in_a_notebook_is_no_command(tmp_path):
    call = "from a notebook: train(build, config, data)"
    assert results.command_of(read_run(write_run(tmp_path / "run", command=call)), {}) == call


def test_runs_without_an_end_and_folders_without_a_run_are_refused(tmp_path, capsys):
    folder = write_run(tmp_path / "run", config={"steps": 500})
    for path, message in ((folder, "at step 100 of 500"), (tmp_path / "none", "does not exist")):
        assert results.write_results(["--record", str(path)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "values, text",
    [([], "–"), ([0.98765], "0.9877"), ([0.9, 1.0, 0.95], "0.95 (0.9..1)")],
)
def test_numbers_of_several_seeds(values, text):
    assert results.spread(values) == text
