"""Runs of several seeds as one result."""

import json
import math
import statistics

import pytest
import scipy.stats

from jaxmodels.report import write_comparison
from jaxmodels.report.__main__ import main
from jaxmodels.report.groups import grouped, in_words, names_by_difference, rounded, spread_of
from jaxmodels.report.run import read_run
from tests.report.folders import write_run
from tests.report.page import Page

ACCURACIES = {0.01: (0.9, 0.92, 0.97), 0.1: (0.7, 0.75, 0.8)}


def sweep(folder, **changes):
    """Writes three seeds at each of two rates."""
    return [
        write_run(
            folder / f"rate-{rate}" / f"seed-{seed}",
            accuracy,
            config={"learning_rate": rate, "seed": seed},
            identity={"learning_rate": rate, "seed": seed, "model": "cnn"},
            **changes,
        )
        for rate, accuracies in ACCURACIES.items()
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.mark.parametrize("values", [(1.0, 2.0), (0.9, 0.92, 0.97), (5.0, 5.0, 5.0)])
def test_a_spread_is_that_of_scipy(values):
    spread = spread_of(values)
    assert spread.mean == pytest.approx(statistics.fmean(values))
    assert spread.deviation == pytest.approx(statistics.stdev(values))
    error = spread.deviation / math.sqrt(len(values))
    if error:
        expected = scipy.stats.t.interval(0.95, len(values) - 1, spread.mean, error)
        assert spread.interval == pytest.approx(expected)
    else:
        assert spread.interval == (5, 5)


def test_a_spread_of_one_value_or_of_none_claims_nothing():
    assert spread_of([0.5]) == (1, 0.5, None, None)
    assert spread_of([]).mean is None and in_words(spread_of([])) == "none"
    assert in_words(spread_of([0.5, None])) == "not finite"
    assert in_words(spread_of([0.5])) == "0.5" and in_words(spread_of([1, 1])) == "1 ± 0"
    assert in_words(spread_of([0.98611, 0.98412])) == "0.9851 ± 0.0014"
    assert rounded(123.4, 30.0) == "123" and rounded(-0.116, 0.0123) == "-0.116"


def test_runs_are_grouped_by_what_differs_besides_the_seed(tmp_path):
    groups = grouped([read_run(path) for path in sweep(tmp_path)])
    assert [group.name for group in groups] == ["learning_rate 0.01", "learning_rate 0.1"]
    assert [group.seeds for group in groups] == ["0–2", "0–2"]
    assert groups[0].last("test/accuracy") == spread_of(ACCURACIES[0.01])
    points = dict(groups[0].points("validation", "accuracy"))
    assert points[20].mean == pytest.approx(statistics.fmean(ACCURACIES[0.01]) - 0.5 / 20)


@pytest.mark.parametrize("change", [{"source": "4567"}, {"facts": {"data": {"name": "other"}}}])
def test_runs_of_other_code_or_data_are_no_seeds_of_one_result(tmp_path, change):
    paths = [
        write_run(tmp_path / str(seed), config={"seed": seed}, **(change if seed == 2 else {}))
        for seed in range(3)
    ]
    groups = grouped([read_run(path) for path in paths])
    assert [len(group.runs) for group in groups] == [2, 1]


def test_the_same_seed_twice_is_no_sample_of_seeds(tmp_path):
    groups = grouped([read_run(write_run(tmp_path / name)) for name in "ab"])
    assert [(group.name, len(group.runs)) for group in groups] == [("a", 1), ("b", 1)]


def test_names_say_the_fewest_fields_that_tell_apart():
    settings = [
        {"model": "cnn", "steps": 5, "a": 1, "b": 1},
        {"model": "mlp", "steps": 5, "a": 2, "b": 2, "hidden": [3]},
        {"model": "mlp", "steps": 9, "a": 2, "b": 2, "hidden": [3]},
    ]
    expected = ["model cnn, steps 5", "model mlp, steps 5", "model mlp, steps 9"]
    assert names_by_difference(settings) == expected
    assert names_by_difference([{"a": 1}, {"a": 1}]) is None


def test_a_page_of_several_seeds_shows_means_bands_and_every_run(tmp_path):
    page = Page(write_comparison(sweep(tmp_path), tmp_path / "all.html"))
    text = page.rows()
    assert "mean ± standard deviation over seeds, with the 95% t-interval" in text
    spread = spread_of(ACCURACIES[0.01])
    assert "learning_rate 0.01 3 seeds (0–2) · finished 0.930 ± 0.036" in text.replace(
        "0.93 ", "0.930 "
    )
    low, high = (rounded(end, spread.deviation) for end in spread.interval)
    assert f"{low} to {high}" in text
    assert "Each of the 6 runs" in text and "rate-0.01/seed-1" in text
    assert "bands mean ± standard deviation" in text
    chart = json.loads(page.scripts[0])["curves"][0]
    assert [line["name"] for line in chart["series"]] == ["learning_rate 0.01", "learning_rate 0.1"]
    for line, values in zip(chart["series"], ACCURACIES.values()):
        assert line["spread"] == pytest.approx([statistics.stdev(values)] * 5, rel=1e-5)


def test_a_run_that_has_not_finished_does_not_count(tmp_path):
    paths = sweep(tmp_path)
    record = json.loads((paths[0] / "config.json").read_text())
    record["config"]["steps"] = 500
    for path in paths[:3]:
        (path / "config.json").write_text(
            json.dumps(record | {"config": {**record["config"], "seed": int(path.name[-1])}})
        )
    lines = (paths[1] / "metrics.jsonl").read_text()
    (paths[1] / "metrics.jsonl").write_text(
        lines + '{"step": 500, "split": "test", "accuracy": 0.5}\n'
    )
    groups = grouped([read_run(path) for path in paths])
    assert groups[0].last("test/accuracy") == (1, 0.5, None, None)


def test_the_terminal_has_a_line_for_each_group(tmp_path, capsys):
    sweep(tmp_path)
    output = tmp_path / "all.html"
    folders = [str(tmp_path / f"rate-{rate}") for rate in ACCURACIES]
    assert main([*folders, "--output", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("learning_rate 0.01: test/accuracy 0.93 ± 0.036, 95% interval")
    assert lines[0].endswith("3 seeds (0–2)") and lines[1].startswith("learning_rate 0.1: ")
    assert lines[2:] == [str(output)] and output.exists()
