"""The peers of experiments.benchmarks.detection have our network, and part quality scores them."""

from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.benchmarks import detection, detection_quality
from experiments.benchmarks import detection_peers as peers
from experiments.benchmarks.alternate import Timing
from experiments.benchmarks.detection_quality import Detector, QualityConfig
from experiments.detection import DetectionConfig
from jaxmodels.data.boxes import BoxConfig, boxes_from_arrays, load_boxes
from jaxmodels.errors import InputError, RunError
from jaxmodels.files import read_json
from tests.ops.test_boxes import plain_suppression
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytest.importorskip("torchvision")
pytest.importorskip("transformers")
pytestmark = pytest.mark.parity
SIZE = (64, 96)


def dataset(train=2, test=2):
    """Grey pictures of twice the size of a canvas, each with a white cell."""
    draw = np.random.default_rng(0)

    def split(count):
        columns = {"image": [], "boxes": [], "labels": []}
        for row in range(count):
            image = draw.integers(0, 99, (2 * SIZE[0], 2 * SIZE[1], 3), np.uint8)
            x, y = draw.integers(20, 60, 2)
            image[y : y + 50, x : x + 40] = 255
            columns["image"].append(image)
            columns["boxes"].append(np.array([[x, y, x + 40, y + 50]], np.float32))
            columns["labels"].append(np.array([row % 2]))
        return columns

    return boxes_from_arrays({"train": split(train), "test": split(test)})


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))
    return load_boxes(BoxConfig(image_size=SIZE), dataset())


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fcos", "detr"])
def test_networks_have_the_parameters_and_operations_that_their_differences_leave(model):
    facts = {}
    for peer in ("ours", "torch_eager"):
        peers.FACTS.clear()
        getattr(peers, peer)(f"tiny-{model}")(1)
        facts[peer] = dict(peers.FACTS)
    ours, theirs = facts["ours"], facts["torch_eager"]
    if model == "detr":
        assert theirs["parameters"] == ours["parameters"]
        assert theirs["flops"] == pytest.approx(ours["flops"], rel=1e-4)
        return
    width, levels, places = 16, 3, 64 + 16 + 4
    biases = levels * width + 2 * width
    norms = 2 * levels * width  # of the pyramid
    centreness = 9 * width
    assert theirs["parameters"] - ours["parameters"] == biases - norms + centreness + 1 - 2 * levels
    # Of two pictures, forward and both gradients.
    assert theirs["flops"] - ours["flops"] == 3 * 2 * 2 * centreness * places


def test_suppression_is_that_of_a_plain_loop():
    from torchvision.ops import batched_nms

    draw = np.random.default_rng(0)
    low = draw.uniform(0, 12, (40, 2))
    boxes = np.concatenate([low, low + draw.uniform(3, 20, (40, 2))], 1).astype(np.float32)
    scores, labels = draw.permutation(40).astype(np.float32), draw.integers(0, 2, 40)
    given = torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels)
    found = batched_nms(*given, 0.4).tolist()
    expected = plain_suppression(boxes, scores, labels, 0.4)
    assert found == expected and 5 < len(expected) < 35


def test_boxes_follow_pictures_through_the_transforms(data):
    torch.manual_seed(0)
    batches = detection_quality.training_batches(data, 2, seed=0)
    sizes = set()
    for _ in range(6):
        images, objects = next(batches)
        assert images.shape == (2, 3, *SIZE)
        for image, (boxes, labels) in zip(images.numpy(), objects):
            assert len(boxes) == len(labels) <= 1
            rows, columns = np.nonzero(image.min(0) > 0.7)
            if len(boxes):
                drawn = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                np.testing.assert_allclose(boxes[0].numpy(), drawn, atol=1.5)
                sizes.add(round(float(boxes[0, 3] - boxes[0, 1])))
    assert len(sizes) > 3


def sample_of(*boxes):
    """A sample of torchvision: grey of SIZE with white boxes."""
    from torchvision import tv_tensors

    pixels = np.full((3, *SIZE), 60, np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[:, y0:y1, x0:x1] = 255
    corners = tv_tensors.BoundingBoxes(
        torch.tensor(boxes, dtype=torch.float32), format="XYXY", canvas_size=SIZE
    )
    return {
        "image": tv_tensors.Image(pixels),
        "boxes": corners,
        "labels": torch.arange(len(boxes)),
    }


def test_a_scale_and_an_aspect_of_1_change_nothing():
    sample = sample_of((3, 5, 23, 35), (40, 10, 90, 60))
    same = detection_quality.jittered(sample, SIZE, scales=(1, 1), aspect=1)
    assert torch.equal(same["image"], sample["image"])
    assert torch.equal(same["boxes"], sample["boxes"].as_subclass(torch.Tensor))
    assert same["labels"].tolist() == [0, 1]


def test_pictures_are_scaled_and_stretched_as_ours_and_slivers_are_left_out():
    ours = DetectionConfig().augmentation
    assert ours.scale_jitter == detection_quality.SCALES
    assert ours.aspect_jitter == detection_quality.ASPECT
    assert ours.least_visible == detection_quality.LEAST_VISIBLE
    assert DetectionConfig().ema == detection_quality.AVERAGE
    torch.manual_seed(0)
    wide, tall, left_out = [], [], 0
    for _ in range(80):
        found = detection_quality.jittered(sample_of((40, 24, 56, 40)), SIZE)
        assert found["image"].shape == (3, *SIZE)
        left_out += 1 - len(found["boxes"])
        for x0, y0, x1, y1 in found["boxes"].tolist():
            if x0 > 0 and y0 > 0 and x1 < SIZE[1] and y1 < SIZE[0]:
                wide.append((x1 - x0) / 16)
                tall.append((y1 - y0) / 16)
    ratio, scale = np.divide(wide, tall), np.sqrt(np.multiply(wide, tall))
    assert 0.68 < scale.min() < 0.8 and 1.25 < scale.max() < 1.42
    assert 0.78 < ratio.min() < 0.88 and 1.14 < ratio.max() < 1.28
    kept = [
        detection_quality.jittered(sample_of((0, 0, 40, 40)), SIZE, (3, 3), 1) for _ in range(60)
    ]
    areas = [float(np.prod(box[2:] - box[:2])) for one in kept for box in one["boxes"].numpy()]
    assert 0 < len(areas) < 60 and min(areas) >= 0.3 * 120**2


def test_kernels_decay_and_the_average_of_all_steps_is_scored(data, monkeypatch):
    from torch.optim.optimizer import register_optimizer_step_post_hook

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 8, 8), torch.nn.BatchNorm2d(1))
    loss = lambda images, objects: (model(images) - 1).square().mean() + model[0].bias[0]  # noqa: E731
    recipe = detection_quality.RECIPES["fcos"]
    groups = detection_quality.optimizer_of(model, recipe).param_groups
    assert [(g["weight_decay"], len(g["params"])) for g in groups] == [(recipe.decay, 1), (0.0, 3)]
    monkeypatch.setattr(detection_quality, "AVERAGE", 0.3)
    clock = SimpleNamespace(perf_counter=count().__next__)  # a second a step
    monkeypatch.setattr(detection_quality, "time", clock)
    steps = []
    hook = register_optimizer_step_post_hook(
        lambda *given: steps.append([p.detach().clone() for p in model.state_dict().values()])
    )
    try:
        config = QualityConfig(minutes=5 / 60, image_size=SIZE)
        given = Detector(model, loss, None), recipe, data, config, "fcos", lambda progress: None
        detection_quality._train(*given)
    finally:
        hook.remove()
    assert len(steps) == 5
    average = steps[0]
    for number, new in enumerate(steps[1:], 1):
        decay = min(0.3, (1 + number) / (10 + number))
        average = [decay * old + (1 - decay) * leaf for old, leaf in zip(average, new)]
    names = model.state_dict()
    for name, expected in zip(names, average):
        if name != "1.num_batches_tracked":
            torch.testing.assert_close(names[name], expected)
    assert not torch.equal(names["0.weight"], steps[-1][0])


def test_detections_are_scored_in_pixels_of_the_stored_pictures(data):
    truth = [row.boxes[0] for row in data.truth("test")]
    left = list(truth)

    def detect(images):
        assert images.shape[1:] == (3, *SIZE) and images.max() == 1
        found = []
        for _ in images:
            right = torch.tensor(left.pop(0) / 2, dtype=torch.float32)
            boxes = torch.stack([torch.zeros(4), right])
            found.append((boxes, torch.tensor([0.1, 0.9]), torch.tensor([1, 0])))
        return found

    found = detection_quality.detections(Detector(torch.nn.Identity(), None, detect), data, "test")
    np.testing.assert_allclose(found.boxes[:, 0], truth)
    assert found.labels[:, :3].tolist() == [[0, 1, -1]] * 2


def test_the_rate_warms_up_and_falls_to_zero():
    assert detection_quality.rate_at(0) == 0
    assert detection_quality.rate_at(0.03) == pytest.approx(1, abs=0.01)
    assert detection_quality.rate_at(0.5) == pytest.approx(0.5)
    assert detection_quality.rate_at(1) == pytest.approx(0, abs=1e-9)


def test_a_detector_that_fails_does_not_end_the_others(tmp_path, monkeypatch, capsys):
    def make(classes, size, pixels):
        model = torch.nn.Linear(1, 1)
        loss = lambda images, objects: model(images.mean().view(1)).sum() ** 2  # noqa: E731
        none = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        return Detector(model, loss, lambda images: [none] * len(images))

    def broken(classes, size, pixels):
        detector = make(classes, size, pixels)
        return detector._replace(loss=lambda *given: detector.loss(*given) * torch.nan)

    recipe = detection_quality.RECIPES["fcos"]
    recipes = {"fcos": recipe._replace(make=broken), "detr": recipe._replace(make=make)}
    monkeypatch.setattr(detection_quality, "RECIPES", recipes)
    monkeypatch.setattr(detection_quality, "_PATIENCE", 1)
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "quality.json"
    config = QualityConfig(
        detectors=("fcos", "detr"), image_size=SIZE, minutes=0.005, output=str(output)
    )
    with pytest.raises(RunError, match="fcos failed"):
        detection_quality.quality(config, dataset())
    results = read_json(output)["results"]
    assert results["fcos"]["status"].startswith("failed: RunError: 1 losses in a row")
    good = results["detr"]
    assert good["status"] == "finished" and good["test"]["ap"] == 0 and good["parameters"] == 2
    assert good["steps"] * 2 == good["pictures"] and good["seconds"] >= 0.3
    assert good["log"][-1]["steps"] == good["steps"] and good["log"][-1]["loss"] >= 0
    told = capsys.readouterr()
    assert "not run (failed" in told.out and "detr: 0.0 min" in told.err
    with pytest.raises(InputError, match="is there already"):
        config.validate()


@pytest.mark.slow
def test_all_detectors_train_and_are_scored(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMODELS_CACHE", str(tmp_path / "cache"))
    record = detection_quality.quality(QualityConfig(image_size=SIZE, minutes=1e-4), dataset())
    for result in record["results"].values():
        assert (result["status"], result["steps"], result["skipped"]) == ("finished", 1, 0)
        assert 0 <= result["test"]["ap"] <= 1
        assert np.isfinite(result["log"][0]["loss"])
    assert set(record["versions"]) == {"torch", "torchvision", "transformers"}


def test_the_table_has_ratio_and_sizes_of_each():
    ours = Timing("ours", (0.2, 0.4, 0.6), 2, facts={"parameters": 7, "flops": 10**9})
    theirs = Timing("torch_eager", (1.0,), 1, facts={"parameters": 8, "flops": 2 * 10**9})
    missing = Timing("torch_compiled", (), 2, "RuntimeError: no compiler")
    lines = detection.steps_table("fcos", [ours, theirs, missing], pace=1e10).splitlines()
    assert lines[4].split()[-3:] == ["2.50x", "2,000.0", "5.00x"]
    assert lines[5].endswith("not run (RuntimeError: no compiler)")
    assert lines[6:] == [
        "jaxmodels: 7 parameters, 1.0 GFLOP a step",
        "PyTorch eager: 8 parameters, 2.0 GFLOP a step",
    ]


def test_unknown_names_are_refused():
    for flags in ({"parts": ("yolo",)}, {"peers": ("keras",)}):
        with pytest.raises(InputError, match="unknown"):
            detection.BenchmarkConfig(**flags).validate()
    with pytest.raises(InputError, match="unknown detector"):
        QualityConfig(detectors=("yolo",)).validate()
