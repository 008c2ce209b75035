"""Find objects in pictures: boxes with labels.

    python -m experiments.detection                                         # scattered digits
    python -m experiments.detection --preset bccd --data-dir DIR            # blood cells
    python -m experiments.detection --preset bccd-dn-detr --data-dir DIR    # by a transformer
    python -m experiments.detection --preset bccd-detr --data-dir DIR       # as published
    python -m experiments.detection --preset bccd-lite0 --data-dir DIR --init-from WEIGHTS
    python -m experiments.detection --data instances.json --image-size 320  # COCO's format
    python -m experiments.detection --workdir RUN --mode predict --input ./new --output new.jsonl

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json (AP
per class and size), checkpoints/ and samples/ (pictures with boxes).
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp

from experiments.exports.detection import detection_programs, export_detector
from experiments.parts.detection_predictions import prediction_line
from experiments.presets.detection import PRESETS
from experiments.reports.detection import AP_SCORES, report
from jaxmodels.data.boxes import BoxConfig, BoxData, boxes_elsewhere, load_boxes
from jaxmodels.data.boxes.reading import read_pictures
from jaxmodels.data.dataset import TRAIN, evaluation_splits
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.errors import InputError
from jaxmodels.models.detectors import (
    DetectionModels,
    flags_from_published,
    images_of_published,
    published_names,
)
from jaxmodels.models.detr_names import is_published as is_detr
from jaxmodels.models.options import chosen_options
from jaxmodels.objectives.box_augmentation import (
    BoxAugmentationConfig,
    make_box_augmentation,
)
from jaxmodels.objectives.denoised_detection import DenoisedDetection
from jaxmodels.objectives.dense_detection import DenseDetection
from jaxmodels.objectives.detection import Choice, Detection
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import prepared, with_preprocessing
from jaxmodels.objectives.set_detection import SetDetection
from jaxmodels.pretrained import Published
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Source
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Elsewhere,
    Experiment,
    ModelSection,
    Prediction,
    RunConfig,
    Section,
    main,
    require_range,
)
from jaxmodels.train.experiment import PerBatch

_STEEP = 1e-3  # learning rate above which a DETR without clipping gets a note


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(Config):
    """Train, resume and evaluate a detector of objects, and predict with it."""

    experiment: ClassVar[str] = "detection"

    run: Section[RunConfig] = RunConfig(
        steps=4000, batch_size=16, eval_every=1000, log_every=100, eval_batch_size=50
    )
    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[BoxConfig] = BoxConfig()
    model: ModelSection[DetectionModels] = DetectionModels()
    optimizer: Section[OptimizerConfig] = OptimizerConfig(
        optimizer="adamw", learning_rate=2e-3, schedule="warmup_cosine", weight_decay=0.05
    )
    augmentation: Section[BoxAugmentationConfig] = BoxAugmentationConfig(
        scale_jitter=(0.7, 1.4), aspect_jitter=1.25
    )

    ema: float = 0.998
    """Decay of the average of parameters and batch statistics for evaluation; 0: no average."""
    detections: int = 100
    """Most detections of a picture; the AP is of these."""
    least_score: float = 0.001
    """Score that a detection has to exceed."""
    pixel_mean: tuple[float, ...] = ()
    """By how much pixels in 0..1 are shifted, for each channel; empty: their mean in training."""
    pixel_std: tuple[float, ...] = ()
    """By how much they are then divided; empty: their standard deviation in training."""

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        pixels = images_of_published(weights)
        scaling = {"pixel_mean": tuple(pixels.mean), "pixel_std": tuple(pixels.std)}
        return {**flags_from_published(weights), **scaling}

    def validate(self) -> None:
        super().validate()
        require_range(self, ("ema", "least_score"), 0, 1)
        require_range(self, ("detections",), 1)


def build(config: DetectionConfig, data: Any = None) -> Experiment:
    """Makes the experiment of a config, on the pictures that it names or on those in memory:
    {"train": {"image": [...], "boxes": [...], "labels": [...]}, "test": ...}."""
    note_recipe(config)
    data = load_boxes(config.data, data)
    normalization = _normalization(config, data)
    detector = make_detection(config, len(data.class_names), _most_objects(config, data))

    def prepare(batch, key):
        return {**batch, "image": normalization(batch["image"])}

    augment = make_box_augmentation(config.augmentation)
    sources = {split: data.source(split) for split in data.sizes}
    predict = prepared(detector.predict, prepare)
    return Experiment(
        objective=with_preprocessing(detector, prepare, augment),
        train=sources[TRAIN],
        evaluation={split: sources[split] for split in evaluation_splits(sources)},
        monitor="ap",
        scores={**Detection.scores, **AP_SCORES},
        facts={"data": data.facts(), "normalization": normalization._asdict()},
        after_evaluation=partial(report, data, predict),
        prediction=Prediction(
            read=partial(read_pictures, data=data),
            predict=predict,
            write=partial(prediction_line, data.class_names),
        ),
        elsewhere=partial(elsewhere, data, predict),
        exports={
            "safetensors": partial(export_detector, config.model, data, normalization),
            **detection_programs(detector, prepare, data),
        },
        introduction=data.summary(),
        metadata=data.metadata(),
        published=partial(named, config, data.canvas),
    )


def note_recipe(config: DetectionConfig) -> None:
    """Says on standard error that a DETR is to be trained by the default recipe, that of the dense
    detector."""
    model, optimizer = config.model.model, config.optimizer
    is_steep = optimizer.learning_rate > _STEEP and not optimizer.clip
    if model != "fcos" and is_steep and config.run.mode == "train":
        print(
            f"note: learning_rate = {optimizer.learning_rate:g}, clip = 0 with model {model};"
            " DETR is published with --learning-rate 1e-4 --weight-decay 1e-4 --clip 0.1",
            file=sys.stderr,
        )


def named(config: DetectionConfig, canvas: tuple[int, int], weights: Weights) -> Published:
    """Makes the table of names of published weights; on standard error, says on what pictures those
    of a DETR were trained, where the canvas is smaller."""
    side = images_of_published(weights).size if is_detr(weights) else 0
    if min(canvas) < side:
        height, width = canvas
        print(
            f"note: {weights.path} was trained on pictures whose shorter side has {side} pixels;"
            f" the canvas has {width}x{height}: --image-size gives others",
            file=sys.stderr,
        )
    return published_names(config.model, weights)


def elsewhere(data: BoxData, predict: PerBatch, config: DetectionConfig) -> Elsewhere:
    """Opens the pictures that a config names, to evaluate a run of `data` on."""
    other = boxes_elsewhere(data, load_boxes(config.data))
    sources: dict[str, Source] = {split: other.source(split) for split in other.sizes}
    return Elsewhere(other.name, other.fingerprint, sources, partial(report, other, predict))


def make_detection(config: DetectionConfig, classes: int, most: int) -> Detection:
    """Makes the objective of the chosen model.

    most: objects of a picture.

    Raises:
      InputError: fewer queries than objects.
    """
    options: Any = chosen_options(config.model)
    common: dict[str, Any] = {
        "model": config.model.create(classes, jnp.dtype(config.compute.precision)),
        "classes": classes,
        "optimizer": config.optimizer,
        "steps": config.run.steps,
        "ema": config.ema,
        "accumulate": config.compute.accumulate,
    }
    if config.model.model != "fcos":
        if options.queries < most:
            raise InputError(
                f"queries = {options.queries}; a picture has {most} objects: give --queries {most}"
                " or more"
            )
        common["choice"] = Choice(most=config.detections, least=config.least_score)
        if config.model.model == "detr":
            return SetDetection(**common, no_object=options.no_object)
        names = ("class_loss", "dense_weight", "positives", "groups", "label_noise", "box_noise")
        return DenoisedDetection(**common, **{name: getattr(options, name) for name in names})
    choice = Choice(
        most=config.detections,
        candidates=options.candidates,
        threshold=options.nms,
        sigma=options.soft_nms,
        least=config.least_score,
    )
    names = ("assignment", "class_loss", "box_loss", "box_weight")
    losses = {name: getattr(options, name) for name in names}
    return DenseDetection(**common, choice=choice, **losses)


def _most_objects(config: DetectionConfig, data: BoxData) -> int:
    """Returns for how many objects of a picture there is room, in training or as stored."""
    augmentation = config.augmentation
    joins = augmentation.mosaic or augmentation.picture_mixup
    return max(data.most, augmentation.room or data.most * (2 if joins else 1))


def _normalization(config: DetectionConfig, data: BoxData) -> Normalization:
    """Returns that of the training split, or the one of the flags, which is for pixels in 0..1."""
    mean, std = config.pixel_mean, config.pixel_std
    if not mean and not std:
        return data.normalization
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise InputError(
            f"pixel_mean = {mean}, pixel_std = {std}; expected a number for each of 3 channels, and"
            " deviations above 0"
        )
    return Normalization(tuple(255 * m for m in mean), tuple(255 * s for s in std))


if __name__ == "__main__":
    sys.exit(main(DetectionConfig, build, PRESETS))
