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
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from experiments.exports.classifier import classifier_programs as program_exports
from experiments.exports.common import Exports
from experiments.exports.images import export_classifier
from experiments.exports.keras import export_keras
from experiments.parts.class_predictions import prediction_line, probabilities_of
from experiments.parts.published_images import (
    NONE,
    classes_without_images,
    flags_alone,
    flags_of_images,
    normalization_of,
    scaled,
)
from experiments.presets.classifier import PRESETS
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
from jaxmodels.metrics import classification_report, expected_calibration_error
from jaxmodels.models.classifiers import (
    ClassifierModels,
    flags_from_published,
    published_names,
)
from jaxmodels.models.options import sharding_of
from jaxmodels.objectives.augmentation import AugmentationConfig, make_augmentation
from jaxmodels.objectives.classifier import Classifier, balanced_weights
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import Change, prepared, with_preprocessing
from jaxmodels.pictures import confusion_figure, image_grid
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import Source
from jaxmodels.train import (
    ComputeConfig,
    Config,
    Elsewhere,
    Evaluation,
    Experiment,
    Findings,
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
        require_known("class_weights", self.class_weights, ("none", "balanced"))


def build(config: ClassifierConfig, data: ImageData | None = None) -> Experiment:
    """Makes the experiment of a config, on the given data or on the data that the config names."""
    named, crop = data is None, config.crop
    has_images = not (named and config.data.data == NONE)
    if has_images:
        data = load(config.data, varying=crop.varying, given=data)
    else:
        run = config.run
        data = classes_without_images(config.model, run.init_from, run.mode, crop.image_size)
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
        class_weights=_class_weights(config, data),
    )

    def prepare(batch, key):
        return {**batch, "image": scaled(batch["image"], normalization, config.pad)}

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


def _class_weights(config: ClassifierConfig, data: ImageData) -> tuple[float, ...]:
    labels = data.labels("train")
    if config.class_weights == "none" or labels is None:
        return ()
    return balanced_weights(np.asarray(labels), len(data.class_names))


def class_counts(data: ImageData) -> Int[np.ndarray, " classes"]:
    """Counts the training images of each class."""
    return np.bincount(np.asarray(data.labels("train")), minlength=len(data.class_names))


def class_balance(data: ImageData, most: int = 10) -> str:
    """Lists how many training images each class has, most first; of many classes the commonest and
    the range of the others."""
    counts = class_counts(data)
    order = np.argsort(-counts, kind="stable")
    listed = ", ".join(f"{data.class_names[row]} {counts[row]:,}" for row in order[:most])
    others = counts[order[most:]]
    if not len(others):
        return listed
    return f"{listed} and {len(others):,} more, {others.min():,} to {others.max():,} images each"


def report(data: ImageData, predict, evaluation: Evaluation) -> Findings | None:
    """Makes scores per class and pictures after the last evaluation."""
    if evaluation.occasion != "last":
        return None
    names, sums = data.class_names, evaluation.sums
    record = {
        "step": evaluation.step,
        "loss": sums.loss.value(),
        "top5": sums.top5.value(),
        "ece": expected_calibration_error(sums.calibration),
        **classification_report(sums.confusion, names),
    }
    counts = class_counts(data)
    record["trained_on"] = dict(zip(names, counts.tolist(), strict=True))
    mistakes = mistakes_of(data, predict, evaluation)
    if named := named_mistakes(mistakes, data, evaluation.split):
        record["misclassified"] = named
    title = f"{evaluation.split}, step {evaluation.step}"
    pictures = {
        "confusion": partial(confusion_figure, sums.confusion, names, title),
        "misclassified": misclassified(mistakes, evaluation, title, names=_files(data, evaluation)),
    }
    return Findings(record=record, pictures=pictures)


class Mistakes(NamedTuple):
    """Wrong predictions of a split, the most confident first."""

    rows: Int[np.ndarray, " mistake"]
    true: list[str]
    predicted: list[str]
    confidence: Float[np.ndarray, " mistake"]
    of: int  # examples of the split


def mistakes_of(data: ImageData, predict, evaluation: Evaluation) -> Mistakes:
    """Finds the wrong predictions of a split."""
    logits, labels = evaluation.map(predict)["logits"], data.labels(evaluation.split)
    # As `prediction_line` computes them, so that both files show the same numbers.
    confidence = probabilities_of(logits).max(-1)
    wrong = np.flatnonzero(logits.argmax(-1) != labels)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")]
    names = data.class_names
    true = [names[labels[row]] for row in rows]
    predicted = [names[logits[row].argmax()] for row in rows]
    return Mistakes(rows, true, predicted, confidence[rows], len(labels))


def _files(data: ImageData, evaluation: Evaluation) -> Callable[[int], str]:
    """Makes the function that names the file of an image; "" for images that have none."""
    if not data.records:
        return lambda row: ""
    key = data.records[evaluation.split].key

    def name(row: int) -> str:
        path = PurePosixPath(key(row))
        # Of a long name the end tells more than the beginning alone.
        short = len(path.name) <= 15
        return (path.name if short else f"{path.name[:5]}…{path.name[-9:]}") if path.suffix else ""

    return name


def misclassified(
    mistakes: Mistakes,
    evaluation: Evaluation,
    title: str,
    most: int = 40,
    names: Callable[[int], str] = lambda row: "",
):
    """Makes a function that draws wrong predictions; None without any.

    names: of an image's file, by its row; "" for none.
    """
    count = len(mistakes.rows)
    if not count:
        return None
    title += f": {count} of {mistakes.of} wrong (true > predicted, confidence)"
    shown = mistakes.rows[:most]
    columns = zip(mistakes.true, mistakes.predicted, mistakes.confidence)
    titles = [f"{true} > {guess}\n{sure:.2f}" for true, guess, sure in columns][:most]
    titles = [f"{above}\n{names(int(row))}".strip() for above, row in zip(titles, shown)]
    return lambda: image_grid(evaluation.examples(shown)["image"], titles, title=title)


def named_mistakes(
    mistakes: Mistakes, data: ImageData, split: str, most: int = 200
) -> list[dict[str, Any]]:
    """Lists wrong predictions by the names of their records; images in memory have none."""
    if not data.records:
        return []
    key = data.records[split].key
    columns = zip(mistakes.rows, mistakes.true, mistakes.predicted, mistakes.confidence)
    return [
        {"input": key(int(row)), "true": true, "predicted": guess, "confidence": float(sure)}
        for row, true, guess, sure in columns
    ][:most]


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
