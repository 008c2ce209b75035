"""Tables from a file to predictions: regression, classes and several labels."""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn import metrics as reference

from experiments import classifier
from experiments.table import PRESETS, TableConfig, build
from jaxmodels.train import configure, load_run, main, train

SMALL = "--hidden 16 --steps 40 --batch-size 16 --eval-every 40 --mesh data=1 --learning-rate 0.02"


def _run(*flags):
    words = [word for flag in flags for word in str(flag).split()]
    return main(TableConfig, build, PRESETS, words)


def _summary(out):
    return dict(field.split("=", 1) for field in out.splitlines()[-1].split(" "))


def _columns(count=120):
    generator = np.random.default_rng(0)
    size, age = generator.normal(100, 20, count), generator.integers(0, 50, count)
    towns = generator.choice(["Bonn", "Köln", "Ulm"], count)
    price = 1000 * size - 800 * age + 20_000 * (towns == "Ulm")
    return {
        "id": np.arange(count),
        "size": size.round(2),
        "town": towns,
        "age": age,
        "price": price.round(),
        "kind": np.where(price > np.median(price), "dear", "cheap"),
        "tags": [
            [name for name, has in (("big", s > 100), ("new", a < 25)) if has]
            for s, a in zip(size, age)
        ],
    }


def _write_csv(path, columns, rows=None):
    rows = range(len(next(iter(columns.values())))) if rows is None else rows
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        texts = (
            [";".join(c[row]) if isinstance(c[row], list) else c[row] for c in columns.values()]
            for row in rows
        )
        writer.writerows(texts)
    return path


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _rows_of(run, split):
    """The rows of the table that a split has."""
    named = load_run(run).config.data.data
    source = load_run(run, data=named).experiment.evaluation[split]
    return [int(source.key(row).split(":")[1]) - 1 for row in range(source.size)]


def test_a_regression_from_a_file_to_a_file(tmp_path, capsys):
    columns = _columns()
    columns["size"] = [None if row == 7 else size for row, size in enumerate(columns["size"])]
    path, run = _write_csv(tmp_path / "homes.csv", columns), tmp_path / "run"
    flags = ("--ignore kind tags --target price --data", path)
    assert _run(*flags, SMALL, "--steps 300 --workdir", run) == 0
    printed = capsys.readouterr()
    summary = _summary(printed.out)
    assert [name for name in summary if name.startswith("test/")] == [
        f"test/{name}" for name in ("loss", "r2", "mae", "rmse")
    ]
    assert float(summary["test/r2"]) > 0.9
    assert "left out: id (numbers of the rows), kind (--ignore), tags (--ignore)" in printed.err
    facts = json.loads((run / "config.json").read_text())["facts"]
    assert facts["columns"]["town"]["values"] == ["Bonn", "Köln", "Ulm"]
    assert (run / "samples/predictions.png").exists()
    page = (run / "report.html").read_text()
    assert "Share of the variance of the target" in page and "Bonn, Köln, Ulm" in page
    del columns["price"]
    new = _write_csv(tmp_path / "new.csv", columns)
    with open(new, "a") as file:
        file.write("120,large,Ulm,3,dear,\n121,90,Trier,3,dear,\n")
    output = tmp_path / "new.jsonl"
    assert _run("--workdir", run, "--mode predict --input", new, "--output", output) == 0
    printed = capsys.readouterr()
    assert "count=122 failed=1" in printed.out and "training had not" in printed.err
    lines = _lines(output)
    assert lines[120] == {"input": "new.csv:121", "error": "has size = 'large'; expected a number"}
    # The predictions of the test rows have the scores of the run.
    rows = _rows_of(run, "test")
    guesses = [lines[row]["prediction"] for row in rows]
    true = _columns()["price"][rows]
    assert float(summary["test/r2"]) == pytest.approx(reference.r2_score(true, guesses), abs=1e-4)
    mae = reference.mean_absolute_error(true, guesses)
    assert float(summary["test/mae"]) == pytest.approx(mae, rel=1e-4)


@pytest.mark.slow
def test_classes_of_a_parquet_file_and_of_another_table(tmp_path, capsys):
    columns = _columns()
    path, run = tmp_path / "homes.parquet", tmp_path / "run"
    table = pa.table({**columns, "town": pa.array(columns["town"]).dictionary_encode()})
    parquet.write_table(table, path)
    flags = ("--ignore price tags --target kind --class-weights balanced --data", path)
    assert _run(*flags, SMALL, "--workdir", run) == 0
    summary = _summary(capsys.readouterr().out)
    assert float(summary["test/accuracy"]) > 0.7
    report = json.loads((run / "evaluation.json").read_text())["test"]
    assert report["per_class"].keys() == {"cheap", "dear"}
    # The same rows as text.
    other = _write_csv(tmp_path / "other.csv", columns, range(60))
    assert _run("--workdir", run, "--mode evaluate --data", other) == 0
    found = json.loads((run / "evaluation-other.csv.json").read_text())["splits"]["all"]
    output = tmp_path / "new.csv"
    assert _run("--workdir", run, "--mode predict --input", other, "--output", output) == 0
    with open(output) as file:
        lines = list(csv.DictReader(file))
    hits = [line["label"] == kind for line, kind in zip(lines, columns["kind"], strict=False)]
    assert len(lines) == 60 and found["accuracy"] == pytest.approx(np.mean(hits))
    assert lines[0].keys() == {
        *("input", "label", "probabilities.cheap", "probabilities.dear", "error")
    }


@pytest.mark.slow
def test_labels_in_lists_and_in_text(tmp_path, capsys):
    columns = _columns()
    flags = ("--ignore price kind --target tags", SMALL)
    text = _write_csv(tmp_path / "homes.csv", columns)
    parquet.write_table(pa.table(columns), tmp_path / "homes.parquet")
    flags += ("--test-fraction 0 --validation-fraction 0.4",)
    for path in (text, tmp_path / "homes.parquet"):
        assert _run("--data", path, *flags, "--workdir", tmp_path / path.suffix) == 0
        assert "target: tags, multilabel: " in capsys.readouterr().err
    run = tmp_path / ".csv"
    output = tmp_path / "new.jsonl"
    assert _run("--workdir", run, "--mode predict --input", text, "--output", output) == 0
    lines = _lines(output)
    rows = _rows_of(run, "validation")
    labels = ("big", "new")
    true = np.array([[label in columns["tags"][row] for label in labels] for row in rows])
    guess = np.array([[label in lines[row]["labels"] for label in labels] for row in rows])
    sure = np.array([[lines[row]["probabilities"][label] for label in labels] for row in rows])
    scores = {line["split"]: line for line in _lines(run / "metrics.jsonl")}["validation"]
    assert scores["f1"] == pytest.approx(reference.f1_score(true, guess, average="macro"))
    expected = reference.average_precision_score(true, sure, average="macro")
    assert scores["map"] == pytest.approx(expected, rel=1e-6)
    report = json.loads((run / "evaluation.json").read_text())["validation"]["per_class"]
    f1 = reference.f1_score(true, guess, average=None)
    assert [report[label]["f1"] for label in labels] == pytest.approx(f1.tolist())
    assert "average precision" in (run / "report.html").read_text()
    output = tmp_path / "new.csv"
    assert _run("--workdir", run, "--mode predict --input", text, "--output", output) == 0
    with open(output) as file:
        written = [line["labels"] for line in csv.DictReader(file)]
    assert written == [";".join(line["labels"]) for line in lines]


def test_rows_of_a_notebook(tmp_path):
    columns = {name: list(_columns()[name]) for name in ("size", "age", "town", "price")}
    rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
    flags = {"hidden": (8,), "steps": 3, "batch_size": 16, "mesh": "data=1", "target": "price"}
    config = configure(TableConfig(), **flags, workdir=tmp_path)
    result = train(build, config, rows)
    assert result.step == 3 and not train(build, config, columns).trained
    found = load_run(tmp_path).predict(rows[:2])
    assert [line["input"] for line in found] == ["0", "1"]
    again = load_run(tmp_path, data=columns).predict({n: v[:2] for n, v in columns.items()})
    assert again == found


def test_what_makes_no_sense_is_refused(tmp_path, capsys):
    path = _write_csv(tmp_path / "homes.csv", _columns())
    for flags, message in (
        ("--target price --class-weights balanced", "it is for classification, and the target is"),
        ("--target price --split town", "has 'Bonn' there: expected train, validation or test"),
        ("--target cost", "unknown target column 'cost'. Known: age, id"),
        ("", "target = ''; expected the column of 'homes.csv' to predict"),
    ):
        assert _run("--data", path, flags, SMALL, "--workdir", tmp_path / "run") == 2
        assert message in (said := capsys.readouterr().err), said
    words = ["--data", str(path), "--workdir", str(tmp_path / "run")]
    assert main(classifier.ClassifierConfig, classifier.build, {}, words) == 2
    assert "tables are read by python -m experiments.table" in capsys.readouterr().err
