"""The GAN experiment as a user runs it."""

import contextlib
import dataclasses
import io
import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.gan import PRESETS, GANConfig, build
from experiments.parts import judges
from experiments.reports import gan as gan_report
from jaxmodels.data.images import load, load_images
from jaxmodels.errors import InputError
from jaxmodels.metrics.generative import NAMES
from jaxmodels.train import configure, main, train
from jaxmodels.train.modes import load_run
from tests.tfds_folder import write_image_dataset

SMALL = ["--width", "8", "--latent-size", "8", "--batch-size", "16", "--steps", "4"]
SMALL += ["--eval-every", "2", "--log-every", "2", "--samples", "60", "--mesh", "data=1"]
SCORES = ["frechet_classifier", "kid_classifier", "classifier_score", "classifier_score_real"]
SCORES += ["precision", "recall", "density", "coverage", "rarest_class"]


def _run(*arguments):
    """Exit code, standard output and standard error of the command line."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(GANConfig, build, PRESETS, [str(a) for a in arguments])
    return code, out.getvalue(), error.getvalue()


def _summary(out):
    return dict(field.split("=", 1) for field in out.splitlines()[-1].split(" "))


@pytest.fixture(scope="module")
def run(judge, drawn, tmp_path_factory):
    """A short conditional run, and what it printed."""
    folder = tmp_path_factory.mktemp("gan") / "run"
    flags = ["--workdir", folder, "--judge", judge, *SMALL]
    code, out, error = _run(*flags)
    assert code == 0, error
    return folder, flags, out


@pytest.mark.slow
def test_scores_and_their_protocol(run):
    folder, _, out = run
    summary = _summary(out)
    for name in SCORES:
        assert np.isfinite(float(summary[f"test/{name}"]))
    report = json.loads((folder / "evaluation.json").read_text())
    assert set(report) == {"validation", "test", "best", "best/test"}
    protocol = report["test"]["protocol"]
    assert protocol["reference"] == "test"
    assert protocol["checkpoint"] == "last"
    assert protocol["samples_from"] == "average of parameters, decay 0.999"
    assert "recomputed" in protocol["batch_statistics"]
    of_judge = protocol["judges"]["classifier"]
    assert (of_judge["real"], of_judge["samples"]) == (360, 60)
    assert of_judge["neighbour_examples"] == 60
    assert of_judge["resize"] == "none"
    assert of_judge["classifier_test_accuracy"] > 0.9
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    of_validation = [line for line in lines if line["split"] == "validation"]
    assert [line["step"] for line in of_validation] == [2, 4]
    best = min(of_validation, key=lambda line: line["frechet_classifier"])
    assert report["best"]["step"] == best["step"]


def test_pictures(run):
    folder, _, _ = run
    names = ["step-00000002", "step-00000004", "interpolations", "classes", "nearest"]
    assert sorted(path.stem for path in (folder / "samples").iterdir()) == sorted(names)
    for name in names:
        pixels = np.asarray(Image.open(folder / f"samples/{name}.png").convert("L"))
        assert pixels.std() > 10


@pytest.mark.slow
def test_a_longer_run_and_an_interrupted_one_agree(run, judge, tmp_path):
    """The engine's resume, with the lines of all evaluations and their scores."""
    flags = ["--schedule", "constant", "--judge", judge, *SMALL]
    assert _run(*flags, "--workdir", tmp_path / "whole")[0] == 0
    config = load_run(tmp_path / "whole").config
    parts = configure(config, workdir=str(tmp_path / "parts"), steps=2, mesh="data=1")
    train(build, parts)
    result = train(build, configure(parts, steps=4))
    assert result.step == 4
    lines = {
        name: [
            json.loads(line)
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
            if '"test"' not in line
        ]
        for name in ("whole", "parts")
    }
    assert lines["whole"] == lines["parts"]


def test_samples_of_a_run(run, tmp_path):
    folder, _, _ = run
    output = tmp_path / "samples.npz"
    code, out, error = _run(
        "--workdir", folder, "--mode", "sample", "--count", 23, "--output", output
    )
    assert code == 0, error
    assert out.startswith("step=4 count=23")
    samples = np.load(output)
    assert samples["images"].shape == (23, 8, 8, 1)
    assert samples["images"].dtype == np.uint8
    np.testing.assert_array_equal(samples["labels"], np.arange(23) % 10)
    narrow = tmp_path / "narrow.npz"
    flags = ["--workdir", folder, "--mode", "sample", "--count", 23, "--output", narrow]
    assert _run(*flags, "--truncation", 0.2)[0] == 0
    spread = [np.load(path)["images"][::10].std(0).mean() for path in (output, narrow)]
    assert spread[1] < spread[0]


@pytest.mark.slow
def test_evaluate_a_run(run, judge):
    folder, _, out = run
    code, again, error = _run("--workdir", folder, "--mode", "evaluate")
    assert code == 0, error
    trained, evaluated = _summary(out), _summary(again)
    for name, value in trained.items():
        if name.startswith("test/"):
            assert float(evaluated[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-4)
    code, other, _ = _run(
        "--workdir", folder, "--mode", "evaluate", "--samples", 40, "--neighbours", 3
    )
    assert code == 0
    name = "test/frechet_classifier"
    assert float(_summary(other)[name]) != pytest.approx(float(trained[name]), rel=1e-3)


def test_a_run_goes_on_only_under_its_own_judge(run, tmp_path):
    _, flags, _ = run
    code, _, error = _run(*flags, "--samples", 40)
    assert code == 2
    assert "samples" in error
    assert "--overwrite" in error


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_run(preset, judge, tmp_path):
    code, out, error = _run(
        "--preset", preset, "--judge", judge, "--workdir", tmp_path / "r", *SMALL
    )
    assert code == 0, error
    assert np.isfinite(float(_summary(out)["test/generator_loss"]))


@pytest.mark.slow
def test_unlabelled_images_of_another_size_are_scored_by_pixels(tmp_path):
    generator = np.random.default_rng(0)
    splits = {
        split: list(generator.integers(0, 256, (count, 12, 12, 3), dtype=np.uint8))
        for split, count in (("train", 64), ("test", 40))
    }
    write_image_dataset(tmp_path, "patches", splits)
    flags = ["--data", "patches", "--data-dir", tmp_path, *SMALL]
    code, out, error = _run(
        *flags, "--no-conditional", "--workdir", tmp_path / "r", "--image-size", 16
    )
    assert code == 0, error
    assert float(_summary(out)["test/frechet_pixels"]) > 0
    code, _, error = _run(*flags, "--workdir", tmp_path / "other")
    assert code == 2
    assert "no labels" in error


@pytest.mark.slow
def test_collapse_is_said(judge, tmp_path, monkeypatch):
    monkeypatch.setattr(gan_report, "COLLAPSED_COVERAGE", 2.0)
    code, out, error = _run("--judge", judge, "--workdir", tmp_path / "r", *SMALL)
    assert code == 0
    assert "collapse: coverage" in error
    assert _summary(out)["test/collapsed"] == "1"
    report = json.loads((tmp_path / "r/evaluation.json").read_text())
    assert report["test"]["collapse"]


def test_judges_agree_with_the_run_they_come_from(judge):
    data = load_images("digits")
    config = judges.JudgeConfig(judge=str(judge))
    (found,) = judges.Judges(config, data, (8, 8, 1)).all
    images, labels = data.splits["test"]["image"], data.splits["test"]["label"]
    seen = found(np.round(images * (255 / 16)).astype(np.uint8))
    assert np.mean(seen.logits.argmax(-1) == labels) == pytest.approx(
        found.protocol["classifier_test_accuracy"], abs=0.006
    )
    assert seen.features.shape == (360, 32)


def _photos(folder, classes=("circle", "square", "star"), sizes=(8,)):
    """A folder of grey pictures with as many classes, each of its own brightness."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 8)):
        for number, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for row in range(count):
                size = sizes[row % len(sizes)]
                pixels = generator.integers(80 * number, 80 * number + 60, (size, size))
                picture = Image.fromarray(pixels.astype(np.uint8))
                picture.save(folder / split / name / f"{row}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(8,), (8, 9)])
def test_the_judge_learns_the_folder_that_is_given(sizes, tmp_path, monkeypatch):
    """Of a folder that is called like an embedded data set, with its flags, whatever its path."""
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))
    quick = {"model": "mlp", "hidden": (16,), "steps": 40}
    monkeypatch.setattr(
        judges, "configure", lambda config, **flags: configure(config, **quick, **flags)
    )
    monkeypatch.chdir(tmp_path)
    resize = 8 * (len(sizes) > 1)
    _photos(tmp_path / "digits", sizes=sizes)
    flags = {"data": "./digits", "validation_fraction": 0.2, "image_size": resize}
    config = configure(GANConfig(), **flags, conditional=False)
    data = load(config.data, varying=resize > 0)
    found = judges.Judges(config.judges, data, (8, 8, 1), config.data).all
    assert [judge.space for judge in found] == ["classifier"]
    assert found[0].protocol["classifier"] == "digits-mlp"
    logits = found[0](np.zeros((2, 8, 8, 1), np.uint8)).logits
    assert logits.shape == (2, 3)
    # The run is read back later, from another folder and without the data in hand.
    (workdir,) = (tmp_path / "cache" / "judges").iterdir()
    monkeypatch.chdir("/")
    read = load_run(workdir)
    assert read.config.data.validation_fraction == 0.2
    assert read.config.data.data == str(tmp_path / "digits")
    # A copy elsewhere has the same judge, other pictures of that name have their own.
    monkeypatch.chdir(tmp_path)
    shutil.copytree("digits", "copy/digits")
    shutil.copytree("digits", "other/digits")
    shutil.copy("other/digits/train/star/0.png", "other/digits/train/star/new.png")
    for path, count in (("copy/digits", 1), ("other/digits", 2)):
        moved = configure(config, data=path)
        data = load(moved.data, varying=resize > 0)
        assert judges.Judges(moved.judges, data, (8, 8, 1), moved.data).all
        assert len(list((tmp_path / "cache" / "judges").iterdir())) == count


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--loss", "hinges"], "did you mean 'hinge'"),
        (["--model", "dcgam"], "did you mean 'dcgan'"),
        (["--norm", "btach"], "did you mean 'batch'"),
        (["--norm", "batch", "--r1", "1"], "--norm none, layer or spectral"),
        (["--model", "r3gan", "--norm", "spectral"], "--norm none"),
        (["--image-size", "3"], "3x3"),
        (["--model", "sngan", "--image-size", "27"], "--image-size 28"),
        (["--neighbours", "200", "--samples", "300"], "has 157"),
        (["--samples", "5"], "more than neighbours"),
        (["--judge", "nowhere"], "no run"),
        (["--inception", "nowhere.npz"], "nowhere.npz"),
        (["--ema", "1"], "ema = 1"),
        (["--batch-size", "400", "--critic-steps", "5"], "1280"),
        (["--width", "0"], "width = 0"),
    ],
)
def test_bad_input_is_one_line(flags, message, judge, tmp_path):
    workdir = tmp_path / "run"
    judging = [] if "--judge" in flags else ["--judge", judge]
    code, out, error = _run("--workdir", workdir, *judging, *flags)
    assert code == 2
    assert message in error
    assert (out, error.count("\n")) == ("", 1)
    assert not workdir.exists()


def test_a_judge_that_is_no_run_is_named_as_judge(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    code, _, error = _run("--workdir", tmp_path / "run", "--judge", tmp_path / "other")
    assert code == 2
    assert error.startswith(f"error: judge {tmp_path}/other is no run folder")
    assert error.endswith("name another --judge\n")


@pytest.mark.slow
def test_weights_that_lack_keys_are_refused_by_name(judge, tmp_path):
    np.savez(tmp_path / "weights.npz", nothing=np.zeros(3))
    flags = ["--judge", judge, "--inception", tmp_path / "weights.npz"]
    code, _, error = _run("--workdir", tmp_path / "run", *flags)
    assert code == 2
    assert "Conv2d_1a_3x3" in error


def test_a_judge_of_other_channels_is_refused(judge, tmp_path):
    config = judges.JudgeConfig(judge=str(judge))
    with pytest.raises(InputError, match="1 channels"):
        judges.Judges(config, load_images("digits"), (8, 8, 3)).require()


@pytest.mark.slow
def test_inception_sees_grey_images_as_coloured_ones(tmp_path, monkeypatch):
    """With random weights in a file, as the published ones would lie in it."""
    from flax.traverse_util import flatten_dict

    from jaxmodels.models.inception import FIDInception

    generator = np.random.default_rng(0)
    spec = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    shapes = jax.eval_shape(FIDInception().init, jax.random.key(0), spec)
    weights = {
        name: (0.1 * generator.normal(size=leaf.shape)).astype(np.float32) + name.endswith("_var")
        for name, leaf in flatten_dict(shapes["params"], sep="/").items()
    }
    np.savez(tmp_path / "weights.npz", **weights)
    monkeypatch.setattr(judges, "map_examples", partial(judges.map_examples, batch_size=4))
    data = dataclasses.replace(load_images("digits"), class_names=())
    config = judges.JudgeConfig(inception=str(tmp_path / "weights.npz"))
    (found,) = judges.Judges(config, data, (8, 8, 1)).all
    grey = generator.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
    seen = found(grey)
    assert (found.space, seen.features.shape, seen.logits.shape) == (
        "inception",
        (6, 2048),
        (6, 1008),
    )
    assert np.ptp(seen.features, axis=0).max() > 0
    coloured = found(np.repeat(grey, 3, axis=-1))
    np.testing.assert_allclose(seen.features, coloured.features, rtol=1e-5)
    assert len(found.protocol["fingerprint"]) == 16


def test_scores_have_the_names_of_their_space():
    assert NAMES["classifier"][0] == "frechet_classifier"
    assert "fid" not in NAMES["classifier"]
    assert NAMES["inception"][0] == "fid"


@pytest.mark.parametrize(("count", "columns"), [(0, None), (1, None), (3, 3), (20, 20), (21, None)])
def test_samples_in_turn_have_a_column_for_each_class_where_there_is_room(count, columns):
    names = [f"class {row}" for row in range(count)]
    found = gan_report.columns_by_class(names)
    assert found == ({} if columns is None else {"columns": columns, "names": names})
