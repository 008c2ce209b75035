"""Taggers of words from a file to predictions: resume, devices, programs, published weights."""

import json

import jax
import numpy as np
import pytest

from experiments.token_classification import PRESETS, TokenClassificationConfig, build
from jaxmodels.train import configure, load_run, main
from tests.data.tagged.test_tagged import write
from tests.experiments.rates import tokens_of_an_example
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices
from tests.experiments.test_sentiment import flags_of, summary
from tests.marks import slow

SMALL = {"model": "lstm", "width": 8, "hidden": 8, "steps": 40, "batch_size": 16}
SMALL |= {"learning_rate": 0.05, "mesh": "data=1", "eval_every": 40, "dropout": 0.0}
NAMES = ["Anna", "Boris", "Clara"]


def sentences(count=90, seed=0):
    """Sentences in which "in" tells a place of two words from a person."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        name = str(generator.choice(NAMES))
        if number % 2:
            words, tags = ["we", "met", "in", name, "Bay"], ["O"] * 3 + ["B-LOC", "I-LOC"]
        else:
            words, tags = ["we", "met", name], ["O"] * 2 + ["B-PER"]
        found.append(([*words, f"{number}"], [*tags, "O"]))
    return found


def run(**flags):
    return main(TokenClassificationConfig, build, PRESETS, flags_of(flags))


def test_a_file_of_tagged_words_to_a_file_of_tags(tmp_path, capsys):
    data, workdir = write(tmp_path / "notes.jsonl", sentences()), tmp_path / "run"
    assert run(data=data, workdir=workdir, **SMALL) == 0
    captured = capsys.readouterr()
    assert f"; {tokens_of_an_example(workdir)} a row" in captured.err
    found = summary(captured.out)
    names = [name for name in found if name.startswith("test/")]
    assert names == [f"test/{name}" for name in ("loss", "accuracy", "precision", "recall", "f1")]
    assert float(found["test/f1"]) > 0.9
    report = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert report["per_kind"].keys() == {"LOC", "PER"}
    assert report["entities"] == sum(kind["support"] for kind in report["per_kind"].values())
    assert "sentences have a wrong tag" in (workdir / "samples/mistakes-test.txt").read_text()
    new, output = tmp_path / "new.txt", tmp_path / "new.jsonl"
    new.write_bytes(b"we met Boris 3\n \nwe met in Clara Bay\n")
    assert run(workdir=workdir, mode="predict", input=new, output=output) == 0
    assert "count=3 failed=1" in capsys.readouterr().out
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert lines[0]["input"] == "we met Boris 3" and lines[0]["tags"] == ["O", "O", "B-PER", "O"]
    assert lines[1]["error"] == "has no visible character"
    assert lines[2]["entities"] == [{"kind": "LOC", "start": 3, "end": 5}]
    # Other sentences with these tags.
    other = write(tmp_path / "other.jsonl", [(["we", "met", "Anna"], ["O", "O", "B-LOC"])])
    assert run(workdir=workdir, mode="evaluate", data=other) == 0
    found = json.loads((workdir / "evaluation-other.jsonl.json").read_text())
    assert found["splits"]["train"]["f1"] == 0.0
    assert run(workdir=workdir, mode="export", output=tmp_path / "out") == 2
    assert "token_classification exports stablehlo, onnx" in capsys.readouterr().err


@pytest.mark.campaign
@pytest.mark.parametrize("model", [slow("transformer")])
def test_a_run_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path, model):
    data = {"train": sentences(60), "test": sentences(20, seed=1)}
    flags = {"model": model, "steps": 12, "batch_size": 16, "log_every": 2, "eval_every": 6}
    flags |= {"dropout": 0.2, "steps_per_dispatch": 2, "optimizer": "momentum"}
    flags |= {"learning_rate": 0.01, "weight_decay": 0.0, "validation_fraction": 0.0}
    small = {"lstm": {"width": 8, "hidden": 8}}
    small["transformer"] = {"layers": 1, "width": 16, "hidden": 32}
    # A sentence may stand in two splits by its number alone.
    data["test"] = [([*words, "again"], [*tags, "O"]) for words, tags in data["test"]]
    config = configure(TokenClassificationConfig(), **flags, **small[model])
    whole = resumed_to_the_bit(build, configure(config, mesh="data=1"), data, tmp_path)
    other = configure(config, workdir=str(tmp_path / "many"))
    same_on_other_devices(build, other, data, whole, 1e-4)
    # Predictions of a run are those of its evaluation.
    loaded = load_run(tmp_path / "whole")
    lines = loaded.predict([words for words, _ in data["test"]])
    hits = [
        a == b for line, (_, tags) in zip(lines, data["test"]) for a, b in zip(line["tags"], tags)
    ]
    assert whole.scores["test"]["accuracy"] == pytest.approx(np.mean(hits))


@pytest.mark.slow
def test_a_tagger_leaves_as_a_program(tmp_path):
    data, workdir = write(tmp_path / "notes.jsonl", sentences(30)), tmp_path / "run"
    flags = {**SMALL, "steps": 2, "eval_every": 2, "data": data, "workdir": workdir}
    assert run(**flags) == 0
    out = tmp_path / "out"
    assert run(workdir=workdir, mode="export", format="stablehlo", output=out) == 0
    facts = json.loads((out / "program.json").read_text())
    assert facts["labels"] == ["O", "B-LOC", "I-LOC", "B-PER"]
    program = jax.export.deserialize(
        bytearray((out / facts["programs"]["classify"]["file"]).read_bytes())
    )
    loaded = load_run(workdir)
    columns = [c for _, c in loaded.experiment.prediction.read([["we", "met", "Anna"], ["in"]])]
    inputs = {name: np.stack([c[name] for c in columns]) for name in ("tokens", "segments")}
    logits = program.call(**inputs)["logits"]
    lines = loaded.predict([["we", "met", "Anna"], ["in"]])
    told = [facts["labels"][tag] for tag in logits[0, :3].argmax(-1)]
    assert told == lines[0]["tags"] and logits.shape == (2, columns[0]["tokens"].size, 4)
