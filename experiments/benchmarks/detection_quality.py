"""Trains detectors of torchvision and transformers from scratch for a time, and scores them.

They see the pictures that `experiments.detection` sees, in the same splits and of the same size,
changed as its preset bccd changes them: both flips, scales of 0.7 to 1.4, sides stretched by up to
1.25 against each other, and a crop, after which boxes stay that keep 30% of their area. Their
losses are their own. AdamW updates, with the rate and decay of each recipe; biases and norms do not
decay, as ours do not. There is a short warm-up, and a cosine over the time. What is scored is the
average of parameters and batch statistics, with the decay of ours. All run eagerly, in the order
of memory channels_last. The time is that of the training loop, with its transforms and the average,
and without reading the data and without the scoring after it. The AP of the test split is that of
pycocotools, on up to 100 detections of a picture, in pixels of the pictures as they are stored.

`--output` has the results so far, rewritten every minute.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.torch_detectors import (
    DETRSizes,
    Pixels,
    count_parameters,
    detr_labels,
    torchvision_fcos,
    torchvision_ssdlite,
    transformers_detr,
)
from experiments.reports.detection import record_of
from jaxmodels.data.boxes import BoxConfig, BoxData, load_boxes
from jaxmodels.data.boxes.letterbox import GREY
from jaxmodels.data.dataset import TRAIN
from jaxmodels.errors import InputError, RunError, require_known
from jaxmodels.files import write_json
from jaxmodels.metrics.average_precision import by_pycocotools
from jaxmodels.train import require_range

# The augmentation of experiments.detection.
SCALES, ASPECT = (0.7, 1.4), 1.25
LEAST_VISIBLE, NARROWEST = 0.3, 2.0  # share of the area, and pixels, that a box keeps
AVERAGE = 0.998  # decay of the average, as that of experiments.detection
_MOST = 100  # detections of a picture
_SCORED = 8  # pictures that are scored at once
_WARMUP = 0.03  # share of the time
_LOGGED = 60.0  # seconds from a line of the log to the next
_PATIENCE = 20  # steps in a row whose loss may be no number
_VERSIONED = ("torch", "torchvision", "transformers")


class Found(NamedTuple):
    """Detections of a split, in pixels of the pictures as they are stored; label -1: none."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Detector(NamedTuple):
    """A model, and how it is used.

    loss: of pictures [batch, 3, height, width] in 0..1, and of the boxes and labels of each.
    detect: finds boxes, scores and labels in such pictures.
    """

    model: Any
    loss: Callable[[Any, Sequence[tuple[Any, Any]]], Any]
    detect: Callable[[Any], list[tuple[Any, Any, Any]]]


def _of_torchvision(model: Any, first: int) -> Detector:
    """first: the model's number of the first class."""

    def loss(images: Any, objects: Sequence[tuple[Any, Any]]) -> Any:
        targets = [{"boxes": boxes, "labels": labels + first} for boxes, labels in objects]
        return sum(model(list(images), targets).values())

    def detect(images: Any) -> list[tuple[Any, Any, Any]]:
        found = model(list(images))
        return [(one["boxes"], one["scores"], one["labels"] - first) for one in found]

    return Detector(model, loss, detect)


def fcos(classes: int, size: tuple[int, int], pixels: Pixels) -> Detector:
    """Makes torchvision's FCOS in the sizes of the preset bccd."""
    return _of_torchvision(torchvision_fcos(classes, size, pixels), 0)


def ssdlite(classes: int, size: tuple[int, int], pixels: Pixels) -> Detector:
    """Makes torchvision's SSDlite as it is."""
    return _of_torchvision(torchvision_ssdlite(classes), 1)


def detr(classes: int, size: tuple[int, int], pixels: Pixels) -> Detector:
    """Makes transformers' DETR on a ResNet-18."""
    import torch

    model = transformers_detr(classes, DETRSizes())
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in pixels)
    height, width = size
    sides = torch.tensor([width, height, width, height], dtype=torch.float32)

    def loss(images: Any, objects: Sequence[tuple[Any, Any]]) -> Any:
        labels = [detr_labels(*own, size) for own in objects]
        return model((images - mean) / std, labels=labels).loss

    def detect(images: Any) -> list[tuple[Any, Any, Any]]:
        outputs = model((images - mean) / std)
        scores, labels = outputs.logits.softmax(-1)[..., :classes].max(-1)
        centre, half = outputs.pred_boxes[..., :2], outputs.pred_boxes[..., 2:] / 2
        boxes = torch.cat([centre - half, centre + half], -1) * sides
        return list(zip(boxes, scores, labels))

    return Detector(model, loss, detect)


class Recipe(NamedTuple):
    """How a detector is made and trained."""

    title: str
    make: Callable[[int, tuple[int, int], Pixels], Detector]
    batch: int
    rate: float
    decay: float
    clip: float = 0.0


RECIPES = {
    "fcos": Recipe("torchvision's FCOS, tiny backbone", fcos, 16, 2e-3, 0.05),
    "ssdlite": Recipe("torchvision's SSDlite320, MobileNetV3", ssdlite, 16, 1e-3, 0.05),
    # As Carion et al. 2020, section 4.
    "detr": Recipe("transformers' DETR, ResNet-18", detr, 8, 1e-4, 1e-4, 0.1),
}


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """How peers are trained for part quality."""

    detectors: tuple[str, ...] = tuple(RECIPES)
    """quality: which of fcos, ssdlite, detr."""
    data: str = "bccd"
    """quality: pictures with boxes, as experiments.detection names them."""
    data_dir: str | None = None
    """quality: folder of tfds data sets; None: tfds's own default."""
    image_size: tuple[int, int] = (240, 320)
    """quality: height and width of all pictures."""
    minutes: float = 40.0
    """quality: minutes of training of each."""
    threads: int = 0
    """quality: threads of PyTorch; 0: as many as there are cores."""
    seed: int = 0
    """quality: seed of weights, order and transforms."""
    output: str | None = None
    """quality: JSON file of the results, which must not be there; None: none."""

    def validate(self) -> None:
        """Raises InputError for an unknown name, a number out of range or a file that is there."""
        for name in self.detectors:
            require_known("detector", name, RECIPES)
        require_range(self, ("minutes",), 1e-6)
        require_range(self, ("threads",), 0)
        require_range(self, ("seed",), 0, 2**32)
        if self.output and Path(self.output).exists():
            raise InputError(f"output {self.output} is there already; name another --output")


@dataclass
class Progress:
    """What is known of a training so far; lines of the log are means since the one before."""

    steps: int = 0
    pictures: int = 0
    seconds: float = 0.0
    skipped: int = 0  # steps whose loss is no number
    log: list[dict[str, float]] = field(default_factory=list)


def quality(config: QualityConfig, given: Any = None) -> dict[str, Any]:
    """Trains and scores the detectors, prints a table, and returns what `--output` has.

    given: pictures to take in place of those that the config names (see `load_boxes`).

    Raises:
      InputError: data that cannot be read, or that has no test split.
      RunError: a detector failed; the results of the others are written.
    """
    import torch

    boxes = BoxConfig(data=config.data, data_dir=config.data_dir, image_size=config.image_size)
    data = load_boxes(boxes, given)
    if "test" not in data.sizes:
        raise InputError(f"data '{config.data}' has no test split; name other --data")
    if config.threads:
        torch.set_num_threads(config.threads)
    record: dict[str, Any] = {
        "data": dict(data.facts()),
        "minutes": config.minutes,
        "seed": config.seed,
        "threads": torch.get_num_threads(),
        "results": {},
    }
    for name in config.detectors:
        result = record["results"][name] = {"title": RECIPES[name].title, "status": "training"}

        def save(progress: Progress | None = None, result: dict[str, Any] = result) -> None:
            if progress:
                result.update(vars(progress))
            if config.output:
                write_json(Path(config.output), record)

        try:
            result.update(_trained_and_scored(config, name, data, save), status="finished")
        except Exception as error:  # the others still run
            result["status"] = f"failed: {type(error).__name__}: {error}"
            print(f"{name} {result['status']}", file=sys.stderr, flush=True)
        record["versions"] = {p: sys.modules[p].__version__ for p in _VERSIONED if p in sys.modules}
        save()
    print(quality_table(config, record["results"]), flush=True)
    failed = [name for name, one in record["results"].items() if one["status"] != "finished"]
    if failed:
        raise RunError(f"{', '.join(failed)} failed; the lines above have the reasons")
    return record


def _trained_and_scored(
    config: QualityConfig, name: str, data: BoxData, save: Callable[[Progress], None]
) -> dict[str, Any]:
    """Trains a detector; returns its number of parameters, and its scores on each other split."""
    import torch

    torch.manual_seed(config.seed)
    recipe = RECIPES[name]
    pixels = Pixels(*(tuple(v / 255 for v in values) for values in data.normalization))
    detector = recipe.make(len(data.class_names), data.canvas, pixels)
    detector.model.to(memory_format=torch.channels_last)
    _train(detector, recipe, data, config, name, save)
    scores = {}
    for split in data.sizes:
        if split != TRAIN:
            found = detections(detector, data, split)
            precision = by_pycocotools(found, data.truth(split), len(data.class_names))
            scores[split] = record_of(precision, data, split)
    return {"parameters": count_parameters(detector.model), **scores}


def _train(
    detector: Detector,
    recipe: Recipe,
    data: BoxData,
    config: QualityConfig,
    name: str,
    save: Callable[[Progress], None],
) -> None:
    """Trains for the time of a config, a step at least; the model then has the average.

    Raises:
      RunError: many losses in a row are no numbers.
    """
    import torch

    model = detector.model.train()
    batches = training_batches(data, recipe.batch, config.seed)
    optimizer, average = optimizer_of(model, recipe), averaged(model)
    budget, progress, losses, bad = 60 * config.minutes, Progress(), list[float](), 0
    began = logged = time.perf_counter()
    while progress.seconds < budget:
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * rate_at(progress.seconds / budget)
        images, objects = next(batches)
        loss = detector.loss(images, objects)
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if math.isfinite(value):
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip or math.inf)
            optimizer.step()
            average.update_parameters(model)
            losses.append(value)
            bad = 0
        else:
            bad, progress.skipped = bad + 1, progress.skipped + 1
            if bad == _PATIENCE:
                raise RunError(f"{bad} losses in a row are no numbers")
        now = time.perf_counter()
        progress.steps += 1
        progress.pictures += len(images)
        progress.seconds = now - began
        if now - logged >= _LOGGED or progress.seconds >= budget:
            mean = sum(losses) / len(losses) if losses else None
            line = {"seconds": progress.seconds, "steps": progress.steps, "loss": mean}
            progress.log.append(line)
            told = "none" if mean is None else f"{mean:.4f}"
            minute = f"{progress.seconds / 60:.1f} min"
            print(
                f"{name}: {minute}, {progress.steps:,} steps, loss {told}",
                file=sys.stderr,
                flush=True,
            )
            save(progress)
            logged, losses = now, []
    model.load_state_dict(average.module.state_dict())


def optimizer_of(model: Any, recipe: Recipe) -> Any:
    """Makes AdamW, under which kernels decay, and biases and norms do not."""
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, fused=True)


def averaged(model: Any) -> Any:
    """Makes the average of a model's parameters and buffers, which forgets the first values as ours
    does (`jaxmodels.objectives.averaging`)."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    def move(average: Any, new: Any, count: Any) -> None:
        step = int(count)
        get_ema_multi_avg_fn(min(AVERAGE, (1 + step) / (10 + step)))(average, new, count)

    return AveragedModel(model, multi_avg_fn=move, use_buffers=True)


def rate_at(share: float) -> float:
    """Returns the share of the learning rate after a share of the time."""
    return min(share / _WARMUP, 1.0) * 0.5 * (1 + math.cos(math.pi * share))


def training_batches(data: BoxData, batch: int, seed: int) -> Any:
    """Yields for ever the pictures [batch, 3, height, width] of a batch in 0..1, and the boxes and
    labels of each, augmented. Each epoch has a new order, without its last incomplete batch."""
    import torch
    from torchvision import tv_tensors

    columns: Any = data.source(TRAIN).examples(np.arange(data.sizes[TRAIN]))
    batch = min(batch, data.sizes[TRAIN])
    change = transforms(data.canvas)
    draw = np.random.default_rng(seed)
    while True:
        order = draw.permutation(data.sizes[TRAIN])
        for start in range(0, len(order) - batch + 1, batch):
            images, objects = [], []
            for row in order[start : start + batch]:
                there = (columns["labels"][row] >= 0) & ~columns["crowd"][row]
                sample = {
                    "image": tv_tensors.Image(columns["image"][row].transpose(2, 0, 1).copy()),
                    "boxes": tv_tensors.BoundingBoxes(
                        columns["boxes"][row][there],
                        format="XYXY",
                        canvas_size=data.canvas,
                    ),
                    "labels": torch.tensor(columns["labels"][row][there], dtype=torch.int64),
                }
                changed = change(sample)
                images.append(changed["image"].as_subclass(torch.Tensor))
                objects.append((changed["boxes"], changed["labels"]))
            yield torch.stack(images).float() / 255, objects


def transforms(size: tuple[int, int]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Makes the change of training pictures with boxes: mirrors, and then `jittered`."""
    from torchvision.transforms import v2

    mirrored = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()])
    return lambda sample: jittered(mirrored(sample), size)


def jittered(
    sample: dict[str, Any],
    size: tuple[int, int],
    scales: tuple[float, float] = SCALES,
    aspect: float = ASPECT,
) -> dict[str, Any]:
    """Scales and stretches a sample of torchvision, and cuts a part of the size out of it or lays
    it anywhere on grey of the size, with the draws of `ops.augmentation.tiles.random_tiles`.

    size: height and width of the picture and of the result. v2.ScaleJitter is not used: it fits
      pictures into its size again, whose order is (width, height) there.
    """
    import torch
    from torchvision.transforms import v2

    low, high = map(math.log, scales)
    drawn, stretched = torch.rand(2).tolist()
    scale, stretch = math.exp(low + (high - low) * drawn), aspect ** (stretched - 0.5)
    sides = round(size[0] * scale / stretch), round(size[1] * scale * stretch)
    sample = v2.Resize(sides)(sample)
    whole = _sides_of(sample["boxes"]).prod(-1)
    sample = v2.RandomCrop(size, pad_if_needed=True, fill=GREY)(sample)
    kept = _sides_of(sample["boxes"])
    there = (kept.prod(-1) >= LEAST_VISIBLE * whole) & (kept.amin(-1) >= NARROWEST)
    boxes = sample["boxes"].as_subclass(torch.Tensor)[there]
    return {**sample, "boxes": boxes, "labels": sample["labels"][there]}


def _sides_of(boxes: Any) -> Any:
    """Computes widths and heights."""
    import torch

    corners = boxes.as_subclass(torch.Tensor)
    return corners[:, 2:] - corners[:, :2]


def detections(detector: Detector, data: BoxData, split: str) -> Found:
    """Finds the objects of all pictures of a split."""
    import torch

    columns: Any = data.source(split).examples(np.arange(data.sizes[split]))
    count = data.sizes[split]
    found = Found(
        np.zeros((count, _MOST, 4)), np.zeros((count, _MOST)), np.full((count, _MOST), -1)
    )
    detector.model.eval()
    for start in range(0, count, _SCORED):
        images = torch.tensor(columns["image"][start : start + _SCORED]).permute(0, 3, 1, 2)
        with torch.no_grad():
            outputs = detector.detect(images.float() / 255)
        for row, (boxes, scores, labels) in enumerate(outputs, start):
            order = scores.argsort(descending=True, stable=True)[:_MOST]
            most = len(order)
            height, width = columns["size"][row]
            stored = boxes[order].double().numpy() / columns["scale"][row]
            found.boxes[row, :most] = stored.clip(0, [width, height, width, height])
            found.scores[row, :most] = scores[order].numpy()
            found.labels[row, :most] = labels[order].numpy()
    return found


def quality_table(config: QualityConfig, results: dict[str, dict[str, Any]]) -> str:
    """Makes a table with a row for each detector."""
    heads = ("AP", "AP50", "AP75", "steps", "pictures/s", "minutes", "parameters")
    lines = [
        "",
        f"{config.data}, test split, {config.minutes:g} min of training each, seed {config.seed}",
        f"{'':40}" + "".join(f"{head:>12}" for head in heads),
    ]
    for result in results.values():
        if result["status"] != "finished":
            lines.append(f"{result['title']:40}  not run ({result['status']})")
            continue
        scores = [result["test"][name] for name in ("ap", "ap50", "ap75")]
        cells = ["–" if score is None else f"{score:.4f}" for score in scores]
        cells += [f"{result['steps']:,}", f"{result['pictures'] / result['seconds']:.1f}"]
        cells += [f"{result['seconds'] / 60:.1f}", f"{result['parameters']:,}"]
        lines.append(f"{result['title']:40}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)
