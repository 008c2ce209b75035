"""The evaluation of a classifier on other data than its run's."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments import vae
from experiments.classifier import PRESETS, ClassifierConfig, build
from jaxmodels.train import configure, load_run, main, train
from tests.experiments.test_own_photos import SMALL

CLASSES = ("cat", "dog", "owl")


def _run(*flags):
    words = [word for flag in flags for word in str(flag).split()]
    return main(ClassifierConfig, build, PRESETS, words)


def _write(folder, classes, splits=("",), size=(10, 12), channels=3, count=4, seed=0):
    generator = np.random.default_rng(seed)
    for split in splits:
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for row in range(count):
                shape = (*size, channels) if channels > 1 else size
                image = generator.integers(0, 256, shape).astype(np.uint8)
                Image.fromarray(image).save(folder / split / name / f"{row}.png")
    return folder


@pytest.fixture(name="run", scope="module")
def _trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    data = _write(folder / "photos", CLASSES, ("train", "test"))
    run = folder / "run"
    flags = {"image_size": 8, "model": "mlp", "hidden": [8], "steps": 3, "batch_size": 4}
    config = configure(ClassifierConfig(), **flags, data=data, workdir=run, mesh="data=1")
    train(build, config)
    return run


def _kept(run):
    names = ("metrics.jsonl", "evaluation.json", "config.json", "speed.jsonl")
    return {name: (run / name).read_bytes() for name in names}


def test_other_data_are_scored_beside_the_run(run, tmp_path, capsys):
    before = _kept(run)
    # Two of the classes, whose labels differ here, in other sizes.
    other = _write(tmp_path / "street", CLASSES[1:], size=(17, 15), seed=1)
    assert _run("--workdir", run, "--mode evaluate --data", other) == 0
    printed = capsys.readouterr()
    assert "note: data 'street' lacks classes: cat" in printed.err
    found = json.loads((run / "evaluation-street.json").read_text())
    assert found["data"]["name"] == "street" and found["splits"].keys() == {"all"}
    lines = load_run(run).predict(other)
    hits = np.mean([line["input"].split("/")[0] == line["label"] for line in lines])
    assert found["splits"]["all"]["accuracy"] == pytest.approx(hits)
    losses = [-np.log(line["probabilities"][line["input"].split("/")[0]]) for line in lines]
    assert found["splits"]["all"]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert f"street/all/accuracy={hits:.5g}" in printed.out
    assert f"output={run}/evaluation-street.json" in printed.out
    assert _kept(run) == before


def test_other_data_of_one_name_have_a_file_each(run, tmp_path):
    for seed in (1, 2):
        other = _write(tmp_path / str(seed) / "twin", CLASSES, ("train", "test"), seed=seed)
        assert _run("--workdir", run, "--mode evaluate --data", other) == 0
    files = sorted(run.glob("evaluation-twin*.json"))
    found = [json.loads(file.read_text()) for file in files]
    assert len({evaluation["data"]["fingerprint"] for evaluation in found}) == len(files) == 2
    assert all(evaluation["splits"].keys() == {"test"} for evaluation in found)


def test_a_copy_of_the_runs_data_is_its_own_data(run, tmp_path, capsys):
    config = json.loads((run / "config.json").read_text())["config"]
    copy = tmp_path / "moved"
    shutil.copytree(config["data"], copy)
    files = sorted(run.iterdir())
    assert _run("--workdir", run, "--mode evaluate --data", copy) == 0
    assert "test/accuracy=" in capsys.readouterr().out
    assert sorted(run.iterdir()) == files


@pytest.mark.parametrize(
    ("classes", "kind", "message"),
    [
        (("cat", "cow"), {}, "data 'odd' has classes that the run lacks: cow; expected some of"),
        (("",), {}, "data 'odd' has no labels; expected classes among cat, dog, owl"),
        (CLASSES, {"channels": 4}, "images of 4 channels; expected 3, as the run's data"),
    ],
)
def test_data_that_do_not_fit_are_refused(run, tmp_path, capsys, classes, kind, message):
    other = _write(tmp_path / "odd", classes, **kind)
    assert _run("--workdir", run, "--mode evaluate --data", other) == 2
    assert message in capsys.readouterr().err


def test_grey_pictures_are_scored_in_three_channels(run, tmp_path):
    other = _write(tmp_path / "grey", CLASSES, channels=1)
    assert _run("--workdir", run, "--mode evaluate --data", other) == 0
    assert (run / "evaluation-grey.json").exists()


@pytest.mark.slow
def test_a_new_run_in_the_folder_leaves_no_scores_of_the_old(tmp_path):
    data = _write(tmp_path / "photos", CLASSES, ("train", "test"))
    other, run = _write(tmp_path / "other", CLASSES), tmp_path / "run"
    assert _run("--data", data, SMALL, "--workdir", run) == 0
    assert _run("--workdir", run, "--mode evaluate --data", other) == 0
    (run / "evaluation-mine.json").write_text('{"a": 1}')
    assert _run("--data", data, SMALL, "--seed 1 --overwrite --workdir", run) == 0
    assert [path.name for path in run.glob("evaluation-*")] == ["evaluation-mine.json"]


@pytest.mark.slow
def test_an_experiment_that_has_no_scores_elsewhere_says_so(tmp_path, capsys):
    flags = {"steps": 1, "batch_size": 8, "scored": 0, "samples": 1}
    config = configure(vae.VAEConfig(), **flags, workdir=tmp_path / "run", mesh="data=1")
    train(vae.build, config)
    words = ["--workdir", str(tmp_path / "run"), "--mode", "evaluate", "--data", "mnist"]
    assert main(vae.VAEConfig, vae.build, vae.PRESETS, words) == 2
    assert "vae is evaluated on the data of its run only, digits" in capsys.readouterr().err
