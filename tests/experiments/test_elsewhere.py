"""The evaluation of a classifier, GAN or VAE on other data than its run's."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments import gan, vae
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
    # A run that would end early needs a validation split; other data do not.
    assert _run("--workdir", run, "--mode evaluate --patience 2 --data", other) == 0
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


@pytest.mark.slow
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


def _digits(folder, classes=("3", "7"), most=16, count=8):
    """Pictures as the embedded digits are: 8x8, in 0..16."""
    generator = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for row in range(count):
            image = generator.integers(0, most + 1, (8, 8), np.uint8)
            image[0, 0] = most
            Image.fromarray(image).save(folder / name / f"{row}.png")
    return folder


def _elsewhere(script, config_class, run, other):
    words = f"--workdir {run} --mode evaluate --data {other}".split()
    code = main(config_class, script.build, script.PRESETS, words)
    path = run / f"evaluation-{other.name}.json"
    return code, json.loads(path.read_text())["splits"] if path.exists() else None


@pytest.mark.slow
def test_a_vae_is_scored_on_other_images(tmp_path, capsys):
    flags = {"model": "mlp", "hidden": (8,), "steps": 2, "batch_size": 8, "samples": 3}
    run = tmp_path / "run"
    config = configure(vae.VAEConfig(), **flags, scored=0, workdir=run, mesh="data=1")
    train(vae.build, config)
    before = _kept(run)
    # It is told no classes, so that classes that training lacks do not matter.
    code, found = _elsewhere(vae, vae.VAEConfig, run, _digits(tmp_path / "more", ("x", "y")))
    assert code == 0 and found.keys() == {"all"}
    lines = load_run(run).predict(tmp_path / "more")
    elbo = np.mean([line["elbo"] for line in lines])
    # Each image is scored with other noise here and there.
    assert found["all"]["elbo"] == pytest.approx(elbo, rel=0.05)
    assert found["all"]["nll"] <= -found["all"]["elbo"]
    assert _kept(run) == before
    code, found = _elsewhere(vae, vae.VAEConfig, run, _digits(tmp_path / "bright", most=255))
    assert code == 2 and found is None
    assert "has pixels in 0..255; expected 0..16, as the run's data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_gan_is_judged_beside_other_images(judge, tmp_path, capsys):
    flags = {"steps": 1, "batch_size": 8, "width": 8, "latent_size": 6, "samples": 20}
    run = tmp_path / "run"
    config = configure(gan.GANConfig(), **flags, judge=str(judge), workdir=run, mesh="data=1")
    train(gan.build, config)
    code, found = _elsewhere(gan, gan.GANConfig, run, _digits(tmp_path / "more"))
    assert code == 0, capsys.readouterr().err
    protocol = found["all"]["protocol"]
    assert protocol["reference"] == "all" and protocol["judges"]["classifier"]["real"] == 16
    assert np.isfinite(found["all"]["frechet_classifier"])
    assert "lacks classes: 0, 1, 2, 4" in capsys.readouterr().err
    for other, message in (
        (_digits(tmp_path / "odd", ("x",)), "has classes that the run lacks: x"),
        (_digits(tmp_path / "few", count=2), "of the all split, which has 4"),
    ):
        assert _elsewhere(gan, gan.GANConfig, run, other) == (2, None)
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_that_has_no_scores_elsewhere_says_so(tmp_path, capsys):
    def build_here(config):
        return build(config)._replace(elsewhere=None)

    run = tmp_path / "run"
    flags = {"model": "mlp", "hidden": (8,), "steps": 1, "workdir": run, "mesh": "data=1"}
    train(build_here, configure(ClassifierConfig(), **flags))
    words = ["--workdir", str(run), "--mode", "evaluate", "--data", "mnist"]
    assert main(ClassifierConfig, build_here, PRESETS, words) == 2
    assert "classifier is evaluated on the data of its run only, digits" in capsys.readouterr().err
