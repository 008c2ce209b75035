"""Train an image classifier.

    python -m experiments.classifier                                    # digits
    python -m experiments.classifier --data mnist --steps 4690          # 10 epochs
    python -m experiments.classifier --data ./photos --image-size 224 --model resnet --variant 18
    python -m experiments.classifier --preset net                       # the 100-50-10 net
    python -m experiments.classifier --workdir RUN --mode predict --input ./new --output new.jsonl

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores per class), checkpoints/ and samples/ (confusion matrix, misclassified images).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import jax.numpy as jnp

from experiments.exports.classifier import classifier_programs as program_exports
from experiments.exports.common import Exports
from experiments.exports.images import export_classifier
from experiments.exports.keras import export_keras
from experiments.parts.class_predictions import prediction_line
from experiments.parts.class_weights import CHOICES, class_weights_of
from experiments.parts.published_images import (
    NONE,
    classes_without_images,
    flags_alone,
    flags_of_images,
    normalization_of,
)
from experiments.presets.classifier import PRESETS
from experiments.reports.classifier import class_balance, report
from jaxmodels.data.dataset import evaluation_splits
from jaxmodels.data.images import (
    CropConfig,
    DataConfig,
    ImageData,
    load,
    make_source,
    read_pictures,
    resize_images,
    sources_elsewhere,
)
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.classifiers import (
    ClassifierModels,
    flags_from_published,
    published_names,
)
from jaxmodels.models.options import sharding_of
from jaxmodels.objectives.augmentation import AugmentationConfig, make_augmentation
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import Change, prepared, with_preprocessing
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Metadata, Source
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Elsewhere,
    Experiment,
    ModelSection,
    Prediction,
    Section,
    main,
    require_range,
)


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(Config):
    """Train, resume and evaluate an image classifier, and predict with it."""

    experiment: ClassVar[str] = "classifier"

    compute: Section[ComputeConfig] = ComputeConfig()
    data: Section[DataConfig] = DataConfig()
    crop: Section[CropConfig] = CropConfig()
    model: ModelSection[ClassifierModels] = ClassifierModels()
    optimizer: Section[OptimizerConfig] = OptimizerConfig()
    augmentation: Section[AugmentationConfig] = AugmentationConfig()

    dropout: float | None = None
    """Share of hidden units left out in training; None: 0.4 for mlp and cnn, else 0."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: an example's loss weighs images / (classes * images of its class) of the training
    split, and the mean is over the weights, so that rare classes count as much as common ones."""
    ema: float = 0.0
    """Decay of the average of parameters and batch statistics for evaluation; 0: no average."""
    pad: int = 0
    """Black pixels added on each side of an image."""
    pixel_mean: tuple[float, ...] = ()
    """By how much pixels in 0..1 are shifted, for each channel; empty: their mean in training."""
    pixel_std: tuple[float, ...] = ()
    """By how much they are then divided; empty: their standard deviation in training."""
    epoch_lines: bool = False
    """Print lines like 'Epoch: 1, Loss: 2.249'; --log-every must be the steps of an epoch."""

    @classmethod
    def flags_of_weights(cls, weights: Weights) -> dict[str, Any]:
        return {**flags_from_published(weights), **flags_of_images(weights)}

    @classmethod
    def flags_of_weights_alone(cls, weights: Weights) -> dict[str, Any]:
        return flags_alone(weights)

    def validate(self) -> None:
        super().validate()
        require_range(self, ("label_smoothing", "ema"), 0, 1)
        if self.dropout is not None:
            require_range(self, ("dropout",), 0, 1)
        require_range(self, ("pad",))
        require_known("class_weights", self.class_weights, CHOICES)

    def refused_modes(self) -> Mapping[str, str]:
        if self.data.data != NONE:
            return {}
        reason = f"data = {NONE} has the classes of published weights and no images: name others"
        return dict.fromkeys(("train", "evaluate"), f"{reason}, --data NAME")


def build(config: ClassifierConfig, data: ImageData | Metadata | None = None) -> Experiment:
    """Makes the experiment of a config, on the given data or on the data that the config names."""
    named, crop = data is None, config.crop
    has_images = not (named and config.data.data == NONE)
    if has_images:
        data = load(config.data, varying=crop.varying, given=data)
    else:
        data = classes_without_images(config.model, config.run.init_from, crop.image_size)
    if named and len(data.class_names) == 1:
        raise InputError(
            f"data '{config.data.data}' has one class, '{data.class_names[0]}'; a classifier"
            " needs two or more: name the folder that holds the folders of classes"
        )
    if not data.class_names:
        raise InputError(f"data '{data.name}' has no labels; a classifier needs a class label")
    data = resize_images(data, crop.resize)
    classes = len(data.class_names)
    normalization = normalization_of(data, config.pixel_mean, config.pixel_std)
    dropout = config.dropout
    if dropout is None:
        dropout = 0.4 if config.model.model in ("mlp", "cnn") else 0.0
    classifier = Classifier(
        model=config.model.create(classes, jnp.dtype(config.compute.precision)),
        classes=classes,
        optimizer=config.optimizer,
        steps=config.run.steps,
        label_smoothing=config.label_smoothing,
        dropout=dropout,
        ema=config.ema,
        accumulate=config.compute.accumulate,
        class_weights=class_weights_of(
            config.class_weights, data, lambda: data.labels("train"), len(data.class_names)
        ),
    )

    margins = ((0, 0), (config.pad, config.pad), (config.pad, config.pad), (0, 0))

    def prepare(batch, key):
        return {**batch, "image": normalization(jnp.pad(batch["image"], margins))}

    def source(split):
        cut = crop.image_size if has_images else 0
        return make_source(data, split, config.data, cut, crop.crop_scale)

    channels = data.pixels.channels
    augment = make_augmentation(config.augmentation, classes, data.white, channels=channels)
    train = source("train")
    predict, features = (
        prepared(function, prepare) for function in (classifier.predict, classifier.features)
    )
    return Experiment(
        objective=with_preprocessing(classifier, prepare, augment),
        train=train,
        evaluation={split: source(split) for split in evaluation_splits(data.sizes)},
        monitor="accuracy",
        scores=Classifier.scores,
        facts={"data": data.facts(), "normalization": normalization._asdict()},
        sharding=sharding_of(classifier.model),
        after_evaluation=partial(report, data, predict),
        describe=_epoch_line(config, data) if config.epoch_lines else None,
        prediction=Prediction(
            read=partial(read_pictures, data=data, size=crop.image_size),
            predict=lambda *given: {**predict(*given), "features": features(*given)},
            write=partial(prediction_line, data.class_names),
        ),
        elsewhere=partial(elsewhere, data),
        exports=_exports(config, data, normalization, classifier, prepare, train),
        introduction=f"classes: {class_balance(data)}",
        metadata={**data.metadata(), "class_weights": list(classifier.class_weights)},
        published=partial(published_names, config.model),
    )


def _exports(
    config: ClassifierConfig,
    data: ImageData,
    normalization: Normalization,
    classifier: Classifier,
    prepare: Change,
    train: Source,
) -> Exports:
    """Makes what --mode export writes, by format."""
    stored = train.spec(1)["image"].shape[1:]
    seen = *(side + 2 * config.pad for side in stored[:2]), len(normalization.mean)
    published = config.model, data, normalization, seen, config.run.naming
    keras = config.model, len(data.class_names), normalization, stored, config.pad
    return {
        "safetensors": partial(export_classifier, *published),
        "keras": partial(export_keras, *keras),
        **program_exports(classifier, prepare, train, data.class_names),
    }


def elsewhere(data: ImageData, config: ClassifierConfig) -> Elsewhere:
    """Opens the images that a config names, to evaluate a classifier of `data` on."""
    flags, crop = replace(config.data, validation_fraction=0.0), config.crop
    other = resize_images(load(flags, varying=crop.varying), crop.resize)
    sources = sources_elsewhere(data, other, crop.image_size)
    return Elsewhere(other.name, other.fingerprint, sources)


def _epoch_line(config: ClassifierConfig, data: ImageData):
    size, batch_size = data.sizes["train"], config.run.batch_size
    if config.run.log_every * batch_size != size:
        raise InputError(
            f"log_every = {config.run.log_every}; expected the steps of an epoch, {size} images /"
            f" batch_size {batch_size} = {size / batch_size:g}, with --epoch-lines"
        )

    def describe(step: int, split: str, scores: dict[str, float]) -> str | None:
        epoch = step * batch_size // size
        return f"Epoch: {epoch}, Loss: {scores['loss']:.3f}" if split == "train" else None

    return describe


if __name__ == "__main__":
    sys.exit(main(ClassifierConfig, build, PRESETS))
