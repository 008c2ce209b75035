"""Prediction: the command line and a notebook say the same of the same pictures."""

import csv
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image

from experiments import classifier, vae
from jaxmodels.data.images import images_from_arrays
from jaxmodels.data.resident import Resident
from jaxmodels.errors import InputError
from jaxmodels.train import configure, load_run, main, train
from jaxmodels.train.evaluation import SplitProgram
from jaxmodels.train.layout import make_mesh
from jaxmodels.train.predictions import predicted, write_table
from jaxmodels.train.program import keys_of
from tests.marks import slow

QUICK = {"model": "mlp", "hidden": [8], "steps": 2, "batch_size": 16}


def _run(capsys, *flags, script=classifier):
    config_class = {classifier: classifier.ClassifierConfig, vae: vae.VAEConfig}[script]
    code = main(config_class, script.build, script.PRESETS, [str(flag) for flag in flags])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def _pictures(folder, images):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(folder / f"{number}.png")
    return folder


def _lines(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{**line, "input": line["input"].removesuffix(".png")} for line in lines]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on the digits."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    config = configure(classifier.ClassifierConfig(), **QUICK, workdir=folder)
    train(classifier.build, config)
    return folder


@pytest.mark.slow
def test_a_notebook_predicts_what_the_command_line_does(digits, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 17, (9, 8, 8, 1), np.uint8)
    pictures = _pictures(tmp_path / "new", images)
    flags = ["--mode", "predict", "--input", pictures, "--output", tmp_path / "new.jsonl"]
    code, out, _ = _run(capsys, "--workdir", digits, *flags)
    assert code == 0 and "count=9 failed=0" in out
    run = load_run(digits)
    assert run.predict(images) == run.predict({"image": images}) == _lines(tmp_path / "new.jsonl")
    assert [line["label"] for line in run.predict(pictures)] == [
        line["label"] for line in _lines(tmp_path / "new.jsonl")
    ]


@pytest.mark.slow
def test_images_are_cut_as_pictures_are(tmp_path, capsys):
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 255, (20 + n, 30, 3), np.uint8) for n in range(24)]
    for at, name in ((0, "test/day"), (4, "test/night"), (8, "train/day"), (16, "train/night")):
        _pictures(tmp_path / "sky" / name, images[at : at + (4 if at < 8 else 8)])
    config = configure(
        classifier.ClassifierConfig(),
        **QUICK,
        data=tmp_path / "sky",
        image_size=8,
        workdir=tmp_path / "run",
        mesh="data=1",
    )
    train(classifier.build, config)
    flags = ["--mode", "predict", "--input", tmp_path / "sky/test/day"]
    code, _, _ = _run(
        capsys, "--workdir", tmp_path / "run", *flags, "--output", tmp_path / "new.jsonl"
    )
    assert code == 0
    assert load_run(tmp_path / "run").predict(images[:4]) == _lines(tmp_path / "new.jsonl")


@pytest.mark.slow
def test_a_table_has_the_same_predictions(digits, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1), np.uint8)
    pictures = _pictures(tmp_path / "new", images)
    (pictures / "0.png").write_text("no picture")
    for ending in ("jsonl", "csv"):
        flags = ["--mode", "predict", "--input", pictures, "--output", tmp_path / f"new.{ending}"]
        assert _run(capsys, "--workdir", digits, *flags)[0] == 0
    with open(tmp_path / "new.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    first, *lines = [json.loads(line) for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert rows[0]["input"] == "0.png" and rows[0]["error"] == first["error"]
    assert rows[0]["label"] == rows[0]["probabilities.3"] == ""
    for row, line in zip(rows[1:], lines, strict=True):
        assert (row["input"], row["label"], row["error"]) == (line["input"], line["label"], "")
        for name, probability in line["probabilities"].items():
            assert float(row[f"probabilities.{name}"]) == probability
    found = [[], [[1.0, 2, 3, 4]], [[1.0, 2, 3, 4], [0, 0, 1, 1]]]
    with open(tmp_path / "boxes.csv", "wb") as table:
        write_table(
            table,
            [{"boxes": b, "labels": ["cat"] * len(b), "scores": [0.5] * len(b)} for b in found],
        )
    with open(tmp_path / "boxes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(json.loads(row["boxes"] or "[]"), row["labels"]) for row in rows] == list(
        zip(found, ["", "cat", "cat;cat"])
    )
    assert [row["scores"] for row in rows] == ["", "[0.5]", "[0.5, 0.5]"]
    flags = ["--mode", "predict", "--input", pictures, "--output", tmp_path / "new.txt"]
    code, _, error = _run(capsys, "--workdir", digits, *flags)
    assert code == 2 and "--output FILE.jsonl or --output FILE.csv" in error


def test_a_mark_that_some_lines_have_has_no_column_in_a_table(tmp_path):
    with open(tmp_path / "lines.csv", "wb") as table:
        write_table(table, [{"input": "a"}, {"input": "b", "cut": True}])
    assert (tmp_path / "lines.csv").read_bytes() == b"input,error\na,\nb,\n"


def test_no_more_than_a_batch_is_read_ahead(digits):
    read = []

    def endless(inputs):
        for number in itertools.count():
            read.append(number)
            yield str(number), {"image": np.zeros((8, 8, 1), np.uint8)}

    run = load_run(digits)
    prediction = run.experiment.prediction._replace(read=endless)
    lines = predicted(prediction, run.state, None, 4)
    for number in range(11):
        assert next(lines)["input"] == str(number)
        assert len(read) <= number + 4
    # Numbers that are not finite are no JSON.
    prediction = prediction._replace(write=lambda outputs: {"share": {"cat": math.nan}})
    line = next(predicted(prediction, run.state, None, 4))
    assert line == {"input": "0", "error": "the model's numbers for it are not finite"}


@pytest.mark.parametrize("count", [8, *map(slow, (1, 21, 300))])
def test_predictions_are_those_of_an_evaluation_to_the_bit(digits, count):
    run = load_run(digits, data="digits")
    columns = run.experiment.evaluation["test"].examples(np.arange(count))
    prediction, size = run.experiment.prediction, run.config.run.eval_batch_size
    split = SplitProgram(Resident(columns), size, keys_of(0).evaluate, make_mesh("data=1"))
    outputs = split.map(prediction.predict, run.state)
    shown = prediction._replace(write=lambda one: {"logits": one["logits"].tolist()})
    lines = list(predicted(shown, run.state, columns["image"], size))
    np.testing.assert_array_equal([line["logits"] for line in lines], outputs["logits"])


def test_images_that_do_not_fit_are_named(digits):
    run = load_run(digits)
    good = np.zeros((8, 8, 1), np.uint8)
    first, second = run.predict([good, good[:4]])
    assert "label" in first and "expected (8, 8, 1)" in second["error"]
    for images, message in (
        (good[None] / 16, "expected uint8, as the run's data"),
        (good, r"none of 8 inputs could be read: has shape \(8, 1\)"),
        (["a"], "expected numbers"),
    ):
        with pytest.raises(InputError, match=message):
            run.predict(images)


@pytest.mark.slow
def test_data_from_a_notebook_are_given_again(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 255, (16, 6, 6, 1), np.uint8)
    split = {"image": images, "label": np.arange(16) % 3}
    data = images_from_arrays({"train": split, "test": split})
    config = configure(classifier.ClassifierConfig(), **QUICK, workdir=tmp_path / "run")
    train(classifier.build, config, data)
    (tmp_path / "run/data.json").unlink()  # as of a run of before
    assert len(load_run(tmp_path / "run", data=data).predict(images)[0]["probabilities"]) == 3
    with pytest.raises(InputError, match=r"give them again, load_run\('.*', data=data\)"):
        load_run(tmp_path / "run")
    capsys.readouterr()
    code, _, error = _run(capsys, "--workdir", tmp_path / "run", "--mode", "evaluate")
    assert (code, "give them again" in error, error.count("\n")) == (2, True, 1)


def test_a_run_of_another_experiment_is_named(digits, tmp_path, capsys):
    for flags in (["--mode", "evaluate"], ["--mode", "sample"], ["--debug"], []):
        code, _, error = _run(capsys, "--workdir", digits, *flags, script=vae)
        assert code == 2 and error.count("\n") == 1
        assert f"{digits} is a run of 'classifier', not of 'vae'" in error
    with pytest.raises(InputError, match="is a run of 'classifier', not of 'vae'"):
        load_run(digits, vae.VAEConfig, vae.build)
    with pytest.raises(InputError, match="holds no run"):
        load_run(tmp_path)


@pytest.mark.slow
def test_a_run_of_a_script_of_ones_own_needs_it(digits, tmp_path):
    from tests.train.toys import CONFIG, experiment, regression, train_toy

    train_toy(tmp_path / "toy", experiment(regression()), configure(CONFIG, steps=1))
    with pytest.raises(InputError, match=r"module experiments.experiment cannot .* give its"):
        load_run(tmp_path / "toy")
    build = lambda config: experiment(regression())  # noqa: E731
    run = load_run(tmp_path / "toy", type(CONFIG), build)
    assert run.step == 1
    with pytest.raises(InputError, match="experiment has nothing to predict"):
        run.predict(np.zeros((1, 5)))


def test_a_prediction_that_fails_says_so(digits, tmp_path, capsys):
    for name in "ab":
        (tmp_path / f"{name}.png").write_text("no picture")
    flags = ["--workdir", digits, "--mode", "predict", "--input", tmp_path, "--output"]
    code, out, error = _run(capsys, *flags, tmp_path / "new.jsonl")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert "none of 2 inputs could be read" in error
    assert all("error" in line for line in _lines(tmp_path / "new.jsonl"))
    code, _, error = _run(capsys, *flags, tmp_path / "nowhere/deep/new.jsonl")
    assert (code, "there is no folder" in error) == (2, True)
    assert not (tmp_path / "nowhere").exists()
