"""Classifiers of texts from a file to predictions: folds, resume, devices, pairs."""

import json

import numpy as np
import pytest

from experiments.sentiment import PRESETS, SentimentConfig, build
from jaxmodels import replay
from jaxmodels.train import configure, load_run, main, train
from tests.experiments.rates import tokens_of_an_example
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices
from tests.marks import slow

WORDS = ["film", "plot", "story", "music", "end", "role", "scene", "joke", "line", "day"]
SMALL = {"model": "average", "width": 8, "steps": 30, "batch_size": 16, "eval_every": 30}
SMALL |= {"learning_rate": 0.05, "mesh": "data=1"}


def sentences(count=90, seed=0):
    """Sentences with a good or a bad word among others."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        words = list(generator.choice(WORDS, generator.integers(1, 9)))
        words.insert(generator.integers(len(words) + 1), ("awful", "lovely")[number % 2])
        found.append((f"{' '.join(words)} {number}", ("bad", "good")[number % 2]))
    return found


def write(path, rows):
    path.write_text("text\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows))
    return path


def flags_of(values):
    words = []
    for name, value in values.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def run(**flags):
    return main(SentimentConfig, build, PRESETS, flags_of(flags))


def summary(out):
    return dict(field.split("=", 1) for field in out.splitlines()[-1].split(" "))


@pytest.mark.slow
def test_a_file_of_sentences_to_a_file_of_labels(tmp_path, capsys):
    data, workdir = write(tmp_path / "reviews.tsv", sentences()), tmp_path / "run"
    assert run(data=data, workdir=workdir, **SMALL) == 0
    captured = capsys.readouterr()
    assert f"; {tokens_of_an_example(workdir)} a row" in captured.err
    found = summary(captured.out)
    names = [name for name in found if name.startswith("test/")]
    scores = ("loss", "accuracy", "top5", "precision", "recall", "f1", "ece")
    assert names == [f"test/{name}" for name in scores]
    assert float(found["test/accuracy"]) > 0.9
    report = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert report["per_class"].keys() == {"bad", "good"}
    assert report["trained_on"]["bad"] + report["trained_on"]["good"] == 72
    assert "the worst of the mistakes first" in (workdir / "samples/mistakes-test.txt").read_text()
    assert (workdir / "samples/confusion.png").exists()
    new, output = tmp_path / "new.txt", tmp_path / "new.jsonl"
    new.write_bytes(b"a lovely film\n\ncaf\xe9\nThe plot is AWFUL !\n")
    assert run(workdir=workdir, mode="predict", input=new, output=output) == 0
    assert "count=4 failed=2" in capsys.readouterr().out
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line.get("label") for line in lines] == ["good", None, None, "bad"]
    assert lines[0]["input"] == "a lovely film"
    assert sum(lines[3]["probabilities"].values()) == pytest.approx(1)
    assert lines[1]["error"] == "has no visible character"
    assert lines[2]["error"].startswith("is no UTF-8")
    # Other sentences with these classes.
    other = write(tmp_path / "other.tsv", [("lovely", "good"), ("lovely day", "bad")])
    assert run(workdir=workdir, mode="evaluate", data=other) == 0
    found = json.loads((workdir / "evaluation-other.tsv.json").read_text())
    assert found["splits"]["train"]["accuracy"] == 0.5


@pytest.mark.slow
def test_replay_shows_the_sentences_of_a_bucket(tmp_path, capsys):
    rows = sentences()
    data, workdir, output = tmp_path / "all.tsv", tmp_path / "run", tmp_path / "step.jsonl"
    flags = {**SMALL, "steps": 4, "eval_every": 4, "buckets": 2, "class_weights": "balanced"}
    assert run(data=write(data, rows), workdir=workdir, **flags) == 0
    record = json.loads((workdir / "config.json").read_text())
    small, large = record["facts"]["data"]["buckets"]
    assert f"buckets: {small}, {large} tokens" in capsys.readouterr().err
    assert replay.main([str(workdir), "--step", "3", "--output", str(output)]) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert len({line["name"] for line in lines}) == SMALL["batch_size"]
    [bucket] = {line["bucket"] for line in lines}
    for line in lines:
        text, label = rows[int(line["name"].split(":")[1]) - 2]
        assert ("bad", "good")[line["label"]] == label
        assert (len(text.split()) > small) == bucket


@pytest.mark.slow
def test_the_worst_mistakes_are_shown_with_their_text(tmp_path):
    rows = sentences()
    wrong = [(text.replace("lovely", "awful"), label) for text, label in rows[:12]]
    data = {"train": rows[12:], "test": [*wrong, ("no such words", "bad")]}
    config = configure(SentimentConfig(), **SMALL, validation_fraction=0.0)
    train(build, configure(config, workdir=str(tmp_path)), data)
    worst = json.loads((tmp_path / "evaluation.json").read_text())["test"]["worst"]
    assert {one["text"] for one in worst} >= {text for text, label in wrong if label == "good"}
    assert worst[0]["true"] == "good" and worst[0]["confidence"] > 0.5
    assert worst[0]["text"] in (tmp_path / "samples/mistakes-test.txt").read_text()


@pytest.mark.slow
def test_folds_are_runs_below_one_folder_with_their_mean(tmp_path, capsys):
    data = write(tmp_path / "reviews.tsv", sentences(60))
    flags = {**SMALL, "steps": 12, "data": data, "folds": 2, "workdir": tmp_path / "all"}
    assert run(**flags) == 0
    out = capsys.readouterr().out.splitlines()
    found = summary(out[-1])
    assert (found["folds"], found["finished"]) == ("2", "2")
    each = [float(summary(line)["test/accuracy"]) for line in out if "fold-" in line]
    mean, deviation = map(float, found["test/accuracy"].split("±"))
    assert mean == pytest.approx(np.mean(each), abs=1e-4)
    assert deviation == pytest.approx(np.std(each, ddof=1), rel=0.1)
    facts = [
        json.loads((tmp_path / f"all/fold-{fold}/config.json").read_text())["facts"]["data"]
        for fold in (0, 1)
    ]
    assert [one["fold"]["number"] for one in facts] == [0, 1]
    # A single fold is that run.
    flags |= {"fold": 1, "workdir": tmp_path / "all/fold-1"}
    assert run(**flags) == 0
    assert "is finished" in capsys.readouterr().out
    assert run(**{**flags, "repeat": 2}) == 2
    assert "expected one of them" in capsys.readouterr().err
    del flags["fold"]
    assert run(**{**flags, "mode": "evaluate", "workdir": tmp_path / "all"}) == 2
    assert "folds = 2 only trains" in capsys.readouterr().err


@pytest.mark.campaign
@pytest.mark.parametrize("model", list(map(slow, ("average", "transformer"))))
def test_a_run_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path, model):
    data = {"train": sentences(60), "test": sentences(20, seed=1)}
    flags = {"model": model, "steps": 12, "batch_size": 16, "log_every": 2, "eval_every": 6}
    # Adam would amplify the rounding of gradients that are truly zero, as those of keys' biases.
    flags |= {"dropout": 0.2, "steps_per_dispatch": 2, "optimizer": "momentum"}
    flags |= {"learning_rate": 0.01, "weight_decay": 0.0, "buckets": 3}
    small = {"average": {"width": 8}, "lstm": {"width": 8, "hidden": 8}}
    small["transformer"] = {"layers": 1, "width": 16, "hidden": 32}
    config = configure(SentimentConfig(), **flags, **small.get(model, {}))
    one = configure(config, mesh="data=1")
    whole = resumed_to_the_bit(build, one, data, tmp_path)
    other = configure(config, workdir=str(tmp_path / "many"))
    same_on_other_devices(build, other, data, whole, 1e-4)
    # Predictions of a run are those of its evaluation, however many lines there are.
    loaded = load_run(tmp_path / "whole")
    lines = loaded.predict([text for text, _ in data["test"]])
    hits = [line["label"] == label for line, (_, label) in zip(lines, data["test"])]
    assert whole.scores["test"]["accuracy"] == pytest.approx(np.mean(hits))


@pytest.mark.slow
def test_a_run_with_buckets_resumes_to_the_bit_in_the_middle_of_an_epoch(tmp_path):
    data = {"train": sentences(60), "test": sentences(20, seed=1)}
    flags = {**SMALL, "steps": 14, "eval_every": 14, "log_every": 2, "steps_per_dispatch": 2}
    config = configure(SentimentConfig(), **flags, buckets=3, dropout=0.2, validation_fraction=0.0)
    resumed_to_the_bit(build, config, data, tmp_path, step=6)  # an epoch has 3.75 steps


@pytest.mark.slow
def test_pairs_of_texts_with_the_transformer(tmp_path):
    """The label says whether both texts have the same word, which no text alone tells."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(500):
        first, second = generator.choice(WORDS[:2], 2)
        rows.append((f"{first} {number}", str(second), "same" if first == second else "other"))
    flags = {"model": "transformer", "layers": 1, "width": 32, "hidden": 64, "steps": 300}
    flags |= {"learning_rate": 3e-3, "dropout": 0.0, "batch_size": 32, "mesh": "data=1"}
    flags |= {"schedule": "warmup_cosine", "warmup_steps": 30, "vocabulary": 6}
    config = configure(SentimentConfig(), **flags, eval_every=300)
    data = {"train": rows[:400], "test": rows[400:]}
    result = train(build, configure(config, workdir=str(tmp_path)), data)
    assert result.scores["test"]["accuracy"] > 0.95


def test_what_makes_no_sense_is_refused(tmp_path, capsys):
    data = write(tmp_path / "reviews.tsv", [("fine", "good"), ("nice", "good")] * 9)
    flags = {"data": data, "workdir": tmp_path / "run"}
    assert run(**flags, validation_fraction=0, test_fraction=0) == 2
    assert "has one class" in capsys.readouterr().err
    assert run(**flags, model="bag", tokenizer="words") == 2
    assert "expected pieces with --model bag" in capsys.readouterr().err
