"""A detector from pictures to boxes: training, resuming, predicting, exporting, on all devices."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from experiments.detection import PRESETS, DetectionConfig, build, named
from jaxmodels.errors import InputError
from jaxmodels.models import efficientnet_names
from jaxmodels.models.efficientnet import EfficientNetConfig
from jaxmodels.pretrained import open_weights, save
from jaxmodels.train import configure, load_run, main
from tests.experiments.resuming import resumed_to_the_bit, same_on_other_devices

CANVAS = (32, 48)
SMALL = {"image_size": CANVAS, "strides": (8,), "width": 8, "depth": 0}
SMALL |= {"batch_size": 8, "eval_batch_size": 8, "detections": 10, "candidates": 30}
COLOURS = np.array([[250, 40, 40], [40, 40, 250]], np.uint8)


def squares(count, seed=0):
    """Red and blue squares on grey pictures of several sizes."""
    generator = np.random.default_rng(seed)
    columns = {"image": [], "boxes": [], "labels": []}
    for number in range(count):
        image = generator.integers(90, 130, (40 + 8 * (number % 2), 64, 3)).astype(np.uint8)
        boxes, labels = [], []
        for left in (2, 34)[: 1 + number % 2]:
            side, label = int(generator.integers(14, 26)), int(generator.integers(2))
            x, y = left + generator.integers(0, 4), generator.integers(0, 12)
            image[y : y + side, x : x + side] = COLOURS[label]
            boxes.append([x, y, x + side, y + side])
            labels.append(label)
        for name, value in zip(columns, (image, boxes, labels), strict=True):
            columns[name].append(value)
    return columns


def data_of(train=32, test=8):
    return {"train": squares(train), "test": squares(test, seed=1)}


def flags_of(values):
    words = []
    for name, value in values.items():
        words.append(f"--{name.replace('_', '-')}")
        words += map(str, value) if isinstance(value, tuple) else [str(value)]
    return words


def run(**flags):
    return main(DetectionConfig, build, PRESETS, flags_of(flags))


def write_yolo(folder, splits):
    """Writes pictures with the text files of YOLO."""
    for split, columns in splits.items():
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for row, (image, boxes, labels) in enumerate(zip(*columns.values(), strict=True)):
            Image.fromarray(image).save(folder / "images" / split / f"{row}.png")
            height, width = image.shape[:2]
            lines = []
            for (x0, y0, x1, y1), label in zip(boxes, labels, strict=True):
                centre = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height
                shares = *centre, (x1 - x0) / width, (y1 - y0) / height
                lines.append(f"{label} {' '.join(f'{share:.6f}' for share in shares)}\n")
            (folder / "labels" / split / f"{row}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text("names: [red, blue]\n")
    return folder


@pytest.mark.slow
def test_a_folder_of_pictures_to_a_file_of_boxes(tmp_path, capsys):
    data, workdir = write_yolo(tmp_path / "data", data_of()), tmp_path / "run"
    flags = {**SMALL, "data": data, "workdir": workdir, "steps": 50, "eval_every": 50}
    flags |= {"learning_rate": 0.01, "warmup_steps": 5, "mesh": "data=1"}
    assert run(**flags) == 0
    summary = capsys.readouterr().out.splitlines()[-1]
    found = dict(field.split("=", 1) for field in summary.split(" "))
    names = [name for name in found if name.startswith("test/")]
    assert {"test/loss", "test/ap", "test/ap50", "test/ap75"} <= set(names)
    assert float(found["test/ap50"]) > 0.5
    assert "ap50" in json.loads((workdir / "evaluation.json").read_text())["test"]
    output = tmp_path / "new.jsonl"
    pictures = shutil.copytree(data / "images" / "test", tmp_path / "new")
    (pictures / "broken.png").write_bytes(b"no picture")
    assert run(workdir=workdir, mode="predict", input=pictures, output=output) == 0
    lines = {line["input"]: line for line in map(json.loads, output.read_text().splitlines())}
    assert "error" in lines["broken.png"]
    best = lines["0.png"]
    assert best.keys() == {"input", "boxes", "labels", "scores"}
    assert set(best["labels"]) <= {"red", "blue"} and best["scores"] == sorted(
        best["scores"], reverse=True
    )
    edges = np.array(best["boxes"])
    assert (edges >= 0).all() and (edges <= [64, 40, 64, 40]).all()
    folder = tmp_path / "weights"
    assert run(workdir=workdir, mode="export", output=folder) == 0
    weights = open_weights(folder)
    assert weights["head.logits.bias"].shape == (2,)
    assert weights.config["labels"] == ["red", "blue"]


@pytest.mark.campaign
@pytest.mark.slow
def test_a_run_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path):
    """The model with the most random draws; tests of objectives compare devices for each."""
    data, small = data_of(), {"image_size": CANVAS, "batch_size": 8, "eval_batch_size": 8}
    model = {"model": "dn_detr", "dn_detr.strides": (8, 16), "dn_detr.width": 16, "heads": 2}
    model |= {"hidden": 16, "decoder_layers": 1, "queries": 12, "groups": 2, "depth": 0}
    # Adam would amplify the rounding of gradients that are truly zero.
    flags = {**small, **model, "steps": 6, "log_every": 1, "eval_every": 6, "mosaic": 0.5}
    flags |= {"optimizer": "momentum", "learning_rate": 1e-3, "weight_decay": 0.0}
    config = configure(DetectionConfig(), **flags, steps_per_dispatch=1, warmup_steps=2)
    one = configure(config, mesh="data=1")
    whole = resumed_to_the_bit(build, one, data, tmp_path, step=3)
    other = configure(config, workdir=str(tmp_path / "many"))
    many = same_on_other_devices(build, other, data, whole, 1e-3)
    assert many.scores["test"]["loss"] == pytest.approx(whole.scores["test"]["loss"], rel=0.01)
    # Predictions of a run are those of its evaluation, in pixels of each picture.
    loaded = load_run(tmp_path / "whole")
    lines = loaded.predict(data["test"]["image"])
    assert len(lines) == len(data["test"]["image"])


@pytest.mark.slow
def test_the_default_model_resumes_to_the_bit_and_is_the_same_on_all_devices(tmp_path):
    flags = {"steps": 4, "log_every": 1, "eval_every": 4, "mosaic": 0.5, "warmup_steps": 1}
    # Adam would amplify the rounding of gradients that are truly zero.
    flags |= {"optimizer": "momentum", "learning_rate": 1e-3, "weight_decay": 0.0}
    config = configure(DetectionConfig(), **SMALL, **flags, steps_per_dispatch=1)
    data = data_of(16, 8)
    whole = resumed_to_the_bit(build, configure(config, mesh="data=1"), data, tmp_path, step=2)
    other = configure(config, workdir=str(tmp_path / "many"))
    many = same_on_other_devices(build, other, data, whole, 1e-3)
    assert many.scores["test"]["loss"] == pytest.approx(whole.scores["test"]["loss"], rel=0.01)


@pytest.mark.slow
def test_published_weights_of_a_classifier_fill_the_backbone(tmp_path, capsys):
    options = EfficientNetConfig(variant="lite0")
    network = options.create(4)
    variables = network.init(jax.random.key(7), jnp.zeros((1, *CANVAS, 3)))
    draw = np.random.default_rng(0)
    # Statistics and gains that differ from those of a start.
    variables = jax.tree.map(lambda leaf: leaf + draw.uniform(0.1, 0.2, leaf.shape), variables)
    folder, data = tmp_path / "weights", write_yolo(tmp_path / "data", data_of(8, 4))
    save(folder, variables, efficientnet_names.published(options), {})
    flags = {**SMALL, "data": data, "init_from": folder, "workdir": tmp_path / "run"}
    assert run(**flags, steps=1, learning_rate=0.0, ema=0.0) == 0
    told = capsys.readouterr()
    assert "head" in told.err
    backbone = load_run(tmp_path / "run").state["params"]["backbone"]
    given = variables["params"]
    assert backbone.keys() < given.keys() and backbone.keys() >= {"stem", "block_0"}
    for name, part in backbone.items():
        jax.tree.map(np.testing.assert_array_equal, part, given[name])


def test_a_detr_with_the_recipe_of_the_dense_detector_gets_a_note(capsys):
    small = {"image_size": CANVAS, "detr.backbone": "tiny", "queries": 8, "encoder_layers": 1}
    config, data = configure(DetectionConfig(), model="detr", **small), data_of(8, 4)
    build(config, data)
    assert "published with --learning-rate 1e-4" in capsys.readouterr().err
    for flags in ({"learning_rate": 1e-3}, {"clip": 0.1}, {"mode": "evaluate"}):
        build(configure(config, **flags), data)
        assert "published with" not in capsys.readouterr().err
    preset = configure(config, **PRESETS["bccd-detr"].flags)
    assert preset.optimizer.clip == 0.1 and preset.optimizer.learning_rate == 1e-4
    build(configure(preset, image_size=CANVAS), data)
    assert "published with" not in capsys.readouterr().err


def test_published_weights_of_a_detr_tell_the_size_of_their_pictures(tmp_path, capsys):
    names = ("model.input_projection.weight", "class_labels_classifier.weight")
    save_file({name: np.zeros((2, 2), np.float32) for name in names}, tmp_path / "w.safetensors")
    weights, small = open_weights(tmp_path / "w.safetensors"), (320, 320)
    config = configure(DetectionConfig(), model="detr", **{"detr.backbone": "resnet18"})
    named(config, small, weights)
    assert "shorter side has 800 pixels; the canvas has 320x320" in capsys.readouterr().err
    named(config, (800, 1066), weights)
    assert not capsys.readouterr().err
    processor = {"size": {"shortest_edge": 224, "longest_edge": 300}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    named(config, small, weights)
    assert not capsys.readouterr().err


def test_what_makes_no_sense_is_refused(tmp_path):
    def built(**flags):
        return build(configure(DetectionConfig(), **SMALL, **flags), data_of(8, 4))

    with pytest.raises(InputError, match="expected a number for each of 3 channels"):
        built(pixel_mean=(0.5,), pixel_std=(0.5,))
    with pytest.raises(InputError, match="give --queries 4 or more"):
        flags = {"image_size": CANVAS, "queries": 2, "detr.backbone": "tiny"}
        build(configure(DetectionConfig(), model="detr", **flags), data_of(8, 4))
