"""Summarizers from a file of documents to a file of summaries: resume, both ways, other data."""

import json
import re
from functools import cache

import numpy as np
import pytest

from experiments.summarization import PRESETS, SummarizationConfig, build
from jaxmodels.data.documents.reports import reports
from jaxmodels.data.text.tokenizers import Bytes
from jaxmodels.train import configure, load_run, main, train
from tests.experiments.rates import tokens_of_an_example
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices

SMALL = {"width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "batch_size": 16}
SMALL |= {"steps": 4, "eval_every": 2, "eval_batch_size": 8, "mesh": "data=1", "written": 4}
SMALL |= {"optimizer": "sgd", "weight_decay": 0.0}
SCORES = ("loss", "rouge1", "rouge2", "rougeL")


@cache
def splits():
    return reports().splits


def documents(count):
    """The first reports, as a user has them."""
    found = {}
    for split, records in splits().items():
        rows = records.read(range(count if split == "train" else 8))
        found[split] = [
            ([text.decode() for text in row["document"]], row["summaries"][0].decode())
            for row in rows
        ]
    return found


def flags_of(values):
    words = []
    for name, value in values.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def run(**flags):
    return main(SummarizationConfig, build, PRESETS, flags_of(flags))


def summary(out):
    return dict(field.split("=", 1) for field in out.splitlines()[-1].split(" "))


def written(folder, splits):
    folder.mkdir()
    for split, rows in splits.items():
        lines = (json.dumps({"document": document, "summary": own}) for document, own in rows)
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_files_of_documents_to_a_file_of_summaries(tmp_path, capsys):
    splits = documents(60)
    del splits["validation"]  # which would compile as much again
    data, workdir = written(tmp_path / "watch", splits), tmp_path / "run"
    assert run(data=data, workdir=workdir, validation_fraction=0, **SMALL) == 0
    captured = capsys.readouterr()
    row = re.search(r"; (\d+) of a document, (\d+) of a summary", captured.err)
    assert tokens_of_an_example(workdir) == int(row[1]) + int(row[2])
    found = summary(captured.out)
    assert all(np.isfinite(float(found[f"test/{name}"])) for name in SCORES)
    evaluation = json.loads((workdir / "evaluation.json").read_text())["test"]
    assert evaluation["protocol"]["documents"] == 8
    assert "largest ROUGE-1" in evaluation["protocol"]["rouge"]
    table = evaluation["table"]
    assert table["best sentence (oracle)"]["rouge1"] >= table["first sentence"]["rouge1"]
    assert table["this model"]["rougeL"] == pytest.approx(float(found["test/rougeL"]), abs=1e-3)
    told = (workdir / "samples/summaries-test.txt").read_text()
    assert "extractive classifier" in told and "  meant: " in told
    assert run(data=data, workdir=workdir, validation_fraction=0, **SMALL) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.campaign
@pytest.mark.slow
def test_a_run_with_buckets_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path):
    data = {"train": documents(40)["train"]}
    flags = {**SMALL, "steps": 8, "log_every": 2, "eval_every": 8, "dropout": 0.1, "buckets": 2}
    flags |= {"steps_per_dispatch": 2, "validation_fraction": 0.0, "test_fraction": 0.0}
    one = configure(SummarizationConfig(), **flags)
    whole = resumed_to_the_bit(build, one, data, tmp_path)
    other = configure(one, mesh="", workdir=str(tmp_path / "many"))
    same_on_other_devices(build, other, data, whole, 1e-4)


@pytest.mark.slow
def test_a_model_of_the_next_token_writes_about_lines_what_its_evaluation_scores(tmp_path):
    data = documents(40)
    Bytes().save(tmp_path)
    flags = {"model": "gpt2", "layers": 1, "width": 16, "heads": 2, "tokenizer": str(tmp_path)}
    flags |= {"steps": 4, "eval_every": 2, "mesh": "data=1", "written": 4, "summary_length": 8}
    config = configure(SummarizationConfig(), **flags, workdir=str(tmp_path / "run"))
    assert train(build, config, data).finished
    assert (tmp_path / "run/samples/step-00000002.txt").exists()
    texts = [" ".join(sentences) for sentences, _ in data["test"]]
    lines = load_run(tmp_path / "run").predict(texts)
    worst = json.loads((tmp_path / "run/evaluation.json").read_text())["test"]["worst"]
    outputs = {one["input"]: one["output"] for one in worst}
    assert outputs == {str(row): line["output"] for row, line in enumerate(lines)}


@pytest.mark.slow
def test_documents_of_one_sentence_of_another_alphabet_are_trained_on_with_notes(tmp_path, capsys):
    rows = [(f"Насос номер {n} течёт", "Течёт насос") for n in range(30)]
    data, workdir = written(tmp_path / "watch", {"train": rows}), tmp_path / "run"
    assert run(data=data, workdir=workdir, validation_fraction=0, **SMALL) == 0
    told = capsys.readouterr().err
    record = json.loads((workdir / "evaluation.json").read_text())["test"]
    unseen, classifier = record["notes"]
    assert "in test have no reference with a letter a-z or a digit" in unseen
    assert classifier.endswith("each training document has one sentence; expected some with more")
    assert f"note: {classifier}" in told
    assert told.index(f"note: {unseen}") < told.rindex(f"note: {unseen}")  # before training too
    assert "extractive classifier" not in record["table"]
    assert f"Note: {unseen}." in (workdir / "samples/summaries-test.txt").read_text()


@pytest.mark.slow
def test_other_documents_are_evaluated_and_lines_of_a_file_summarized(tmp_path, capsys):
    data, workdir = written(tmp_path / "watch", documents(40)), tmp_path / "run"
    assert run(data=data, workdir=workdir, **SMALL) == 0
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"document": "A leak. It was dry.", "summary": "A leak."}) + "\n")
    assert run(workdir=workdir, mode="evaluate", data=other) == 0
    found = json.loads((workdir / "evaluation-other.jsonl.json").read_text())["splits"]["train"]
    assert found["table"]["first sentence"]["rouge1"] == 1
    assert found["worst"][0]["references"] == ["A leak."]
    new, output = tmp_path / "new.txt", tmp_path / "new.jsonl"
    new.write_bytes(b"Zanana found a fire at valve 12345 at dawn.\n\ncaf\xe9\n")
    assert run(workdir=workdir, mode="predict", input=new, output=output) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert lines[0].keys() == {"input", "output"} and isinstance(lines[0]["output"], str)
    assert [("error" in line) for line in lines] == [False, True, True]
    assert run(workdir=workdir, mode="export", output=tmp_path / "out") == 2
    told = "exports stablehlo, onnx, saved_model, since no other library has published names"
    assert told in capsys.readouterr().err


def test_what_makes_no_sense_is_refused(tmp_path, capsys):
    data, workdir = written(tmp_path / "watch", documents(20)), tmp_path / "run"
    assert run(data=data, workdir=workdir, model="llama") == 2
    assert "expected --init-from" in capsys.readouterr().err
    assert run(data=data, workdir=workdir, beams=0) == 2
    assert "beams = 0; expected at least 1" in capsys.readouterr().err
