"""Photos of one's own, from a folder to a trained classifier."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.classifier import PRESETS, ClassifierConfig, build
from experiments.reports.classifier import class_balance
from jaxmodels.data.images import images_from_arrays
from jaxmodels.train import load_run, main

SMALL = "--image-size 8 --model mlp --hidden 8 --steps 3 --batch-size 8 --mesh data=1"


def _run(*flags):
    words = [word for flag in flags for word in str(flag).split()]
    return main(ClassifierConfig, build, PRESETS, words)


def _require_equal(run, lines):
    """Predictions are those of the evaluation, up to the rounding of two compiled programs."""
    report = json.loads((run / "evaluation.json").read_text())["test"]
    hits = [line["input"].startswith(f"{line['label']}/") for line in lines]
    assert report["accuracy"] == np.mean(hits)
    wrong = {f"test/{line['input']}": line for line, hit in zip(lines, hits) if not hit}
    assert wrong.keys() == {mistake["input"] for mistake in report.get("misclassified", ())}
    for mistake in report.get("misclassified", ()):
        line = wrong[mistake["input"]]
        assert mistake["predicted"] == line["label"]
        assert mistake["confidence"] == pytest.approx(max(line["probabilities"].values()), rel=1e-6)
    assert wrong  # otherwise nothing was compared


@pytest.fixture(name="photos")
def _photos(tmp_path):
    """Photos of two sizes, taken with a camera that was turned; three times as many cats."""
    generator, exif = np.random.default_rng(0), Image.Exif()
    exif[0x0112] = 6
    for split, cats, dogs in (("train", 18, 6), ("test", 4, 4)):
        for name, count in (("cat", cats), ("dog", dogs)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for row in range(count):
                image = generator.integers(0, 256, (20 + row % 2, 30, 3)).astype(np.uint8)
                Image.fromarray(image).save(folder / f"{row}.jpg", exif=exif)
    return tmp_path / "photos"


@pytest.mark.slow
def test_a_classifier_of_photos(photos, tmp_path, capsys):
    run = tmp_path / "run"
    flags = "--ema 0.5 --crop-scale 0.5 1 --color-jitter 0.4 0.4 0.4 0.1 --class-weights balanced"
    assert _run("--data", photos, SMALL, flags, "--workdir", run) == 0
    said = capsys.readouterr().err
    assert "classes: cat 18, dog 6\n" in said
    assert "photos/test: 8 images cut to 8x8 pixels lie on the device" in said
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["crop_scale"] == [0.5, 1.0]
    assert config["color_jitter"] == [0.4, 0.4, 0.4, 0.1]
    assert config["class_weights"] == "balanced"
    assert _run("--workdir", run, "--mode evaluate") == 0
    printed = capsys.readouterr()
    assert "classes:" not in printed.err
    accuracy = float(printed.out.split("test/accuracy=")[1].split()[0])
    lines = load_run(run).predict(photos / "test")
    hits = [line["input"].startswith(f"{line['label']}/") for line in lines]
    assert np.mean(hits) == pytest.approx(accuracy)
    _require_equal(run, lines)


@pytest.mark.slow
def test_photos_are_resized_once_and_named_where_they_are_wrong(photos, tmp_path, capsys):
    run = tmp_path / "run"
    small = SMALL.replace("--image-size", "--resize")
    assert _run("--data", photos, small, "--workdir", run) == 0
    assert "decoding 24 records of photos/train, once" in capsys.readouterr().err
    loaded = load_run(run)
    assert loaded.experiment.train.spec(1)["image"].shape == (1, 8, 8, 3)
    report = json.loads((run / "evaluation.json").read_text())["test"]
    assert report["trained_on"] == {"cat": 18, "dog": 6}
    assert ">trained</th>" in (run / "report.html").read_text()
    lines = loaded.predict(photos / "test")
    hits = [line["input"].startswith(f"{line['label']}/") for line in lines]
    _require_equal(run, lines)
    assert _run("--workdir", run, "--mode evaluate --data", photos / "test") == 0
    found = json.loads((run / "evaluation-test.json").read_text())["splits"]["all"]
    assert found["accuracy"] == pytest.approx(np.mean(hits))


def test_photos_of_several_sizes_need_a_flag_and_are_told_which(photos, capsys):
    bare = SMALL.replace("--image-size 8 ", "")
    assert _run("--data", photos, bare) == 2
    said = capsys.readouterr().err
    assert "the images of data 'photos' have 2 sizes" in said or "--image-size N" in said, said
    assert len(said.splitlines()) <= 3


def test_many_classes_are_summed_up():
    labels = np.repeat(np.arange(13), np.arange(13, 0, -1)).astype(np.int32)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    data = images_from_arrays({"train": {"image": images, "label": labels}})
    assert class_balance(data) == (
        "0 13, 1 12, 2 11, 3 10, 4 9, 5 8, 6 7, 7 6, 8 5, 9 4 and 3 more, 1 to 3 images each"
    )


def test_flags_that_make_no_sense_are_refused(photos, capsys):
    for flags, message in (
        ("--crop-scale 0.5 2", "crop_scale = 0.5 2; expected two shares of the area"),
        ("--resize 8", "resize = 8, image_size = 8; images are cut, or resized: give one"),
        ("--color-jitter 0.1 0.2", "color_jitter = 0.1 0.2; expected one strength or four"),
    ):
        assert _run("--data", photos, SMALL, flags) == 2
        assert message in capsys.readouterr().err
