"""The page of several runs: how they are sorted and what is shown of them."""

import json

import pytest

from jaxmodels.errors import InputError
from jaxmodels.report import write_comparison
from jaxmodels.report.__main__ import main
from jaxmodels.report.groups import short_names
from tests.report.folders import SCORES, write_lines, write_run
from tests.report.page import Page


def test_runs_are_sorted_and_only_what_differs_is_shown(tmp_path):
    runs = [
        write_run(tmp_path / name, accuracy, config={"learning_rate": rate, "dropout": 0.5})
        for name, accuracy, rate in (("low", 0.7, 0.1), ("high", 0.95, 0.2), ("middle", 0.8, 0.3))
    ]
    page = Page(write_comparison(runs, tmp_path / "all.html"))
    text = page.rows()
    assert "Sorted by the last test/accuracy; higher is better." in text
    table = text.split("Sorted by", 1)[1].split("Differences")[0]
    rows = [
        f"learning_rate {r} {n} · cnn" for n, r in (("high", 0.2), ("middle", 0.3), ("low", 0.1))
    ]
    assert table.index(rows[0]) < table.index(rows[1]) < table.index(rows[2])
    assert "100 steps 2 s 50 steps/s" in table
    differences = text.split("Config", 1)[1]
    assert "learning_ rate 0.2 0.3 0.1" in differences and "dropout" not in differences
    curves = json.loads(page.scripts[0])["curves"]
    assert [chart["title"] for chart in curves] == [
        "validation/accuracy",
        "validation/loss",
        "train/loss",
    ]
    assert [line["name"] for line in curves[0]["series"]] == [
        f"learning_rate {rate}" for rate in (0.2, 0.3, 0.1)
    ]
    text = Page(write_comparison(runs, tmp_path / "all.html", "test/accuracy", "lower")).rows()
    table = text.split("lower is better", 1)[1]
    assert table.index(rows[2]) < table.index(rows[0])


def test_the_metric_of_a_comparison_must_be_there(tmp_path):
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    with pytest.raises(InputError, match=r"unknown metric 'test/acuracy'; did you mean 'test/acc"):
        write_comparison(runs, tmp_path / "all.html", "test/acuracy")
    with pytest.raises(InputError, match="given twice"):
        write_comparison([runs[0], runs[0] / ".." / "a"], tmp_path / "all.html")
    for run in runs:
        (run / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="no scores yet"):
        write_comparison(runs, tmp_path / "all.html")


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    paths = [tmp_path / "x" / "run", tmp_path / "y" / "run"]
    assert short_names(paths) == ["x/run", "y/run"]
    assert short_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]


PERPLEXITY = {"better": "higher", "unit": "codes", "meaning": "how many codes are in use"}


def codebooks(folder, **record):
    """Writes runs of which the second uses the most codes, and all the same accuracy."""
    runs = []
    for name, perplexity in (("one", 12.0), ("two", 60.0), ("three", 30.0)):
        run = write_run(folder / name, **record)
        score = {"loss": 0.5, "accuracy": 0.9, "perplexity": perplexity, "kl": perplexity}
        write_lines(run / "metrics.jsonl", [{"step": 100, "split": "test"} | score])
        runs.append(run)
    return runs


def order(page):
    """Lists the runs of a page in the order of its table."""
    rows = [attributes.get("title", "") for tag, attributes in page.elements if tag == "span"]
    return list(dict.fromkeys(title.rsplit("/", 1)[-1] for title in rows if "/" in title))


def test_a_score_is_sorted_by_its_declared_direction_whatever_it_is_called(tmp_path):
    neither = {"better": "neither", "unit": "nats", "meaning": ""}
    scores = SCORES | {"perplexity": PERPLEXITY, "kl": neither}
    runs = codebooks(tmp_path, scores=scores)
    path = tmp_path / "all.html"
    page = Page(write_comparison(runs, path, "test/perplexity"))
    assert "Sorted by the last test/perplexity; higher is better." in page.rows()
    assert "test/perplexity: how many codes are in use" in page.rows()
    assert "test/perplexity codes" in page.rows()  # the unit under the name
    assert {"scope": "col", "title": PERPLEXITY["meaning"]} in [a for _, a in page.elements]
    assert order(page) == ["two", "three", "one"]
    page = Page(write_comparison(runs, path, "test/kl"))
    assert "In the order given" in page.rows() and " is better" not in page.rows()
    assert order(page) == ["one", "two", "three"]
    page = Page(write_comparison(runs, path, "test/kl", "lower"))
    assert "Sorted by the last test/kl; lower is better." in page.rows()
    assert order(page) == ["one", "three", "two"]


def test_of_runs_that_declare_nothing_only_the_monitor_has_a_direction(tmp_path, capsys):
    runs = codebooks(tmp_path, scores=None, monitor=["perplexity", "max"])
    path = tmp_path / "all.html"
    page = Page(write_comparison(runs, path))
    assert "Sorted by the last test/perplexity; higher is better." in page.rows()
    assert order(page) == ["two", "three", "one"]
    for score in ("loss", "kl", "accuracy"):
        text = Page(write_comparison(runs, path, f"test/{score}")).rows()
        assert f"In the order given, as no direction of test/{score} is recorded" in text
        assert "--better lower or --better higher" in text and "is better" not in text
    arguments = [*map(str, runs), "--output", str(path), "--metric", "test/kl"]
    assert main([*arguments, "--better", "higher"]) == 0
    assert order(Page(path)) == ["two", "three", "one"]
    assert main(arguments) == 0
    assert order(Page(path)) == ["one", "two", "three"]


def test_runs_that_contradict_one_another_are_not_sorted(tmp_path):
    higher = codebooks(tmp_path / "higher", scores={"perplexity": PERPLEXITY})
    lower = codebooks(tmp_path / "lower", scores={"perplexity": PERPLEXITY | {"better": "lower"}})
    page = Page(write_comparison([higher[0], lower[1]], tmp_path / "all.html", "test/perplexity"))
    assert "In the order given" in page.rows()
