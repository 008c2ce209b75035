"""Train an image classifier.

    python -m experiments.classifier                                    # digits, seconds
    python -m experiments.classifier --data mnist --steps 4690          # 10 epochs
    python -m experiments.classifier --data ./photos --image-size 224 --model resnet --variant 18
    python -m experiments.classifier --preset net                       # the 100-50-10 net

The run folder then holds config.json, metrics.jsonl, speed.jsonl, curves.png, evaluation.json
(scores per class), checkpoints/ and samples/ (confusion matrix, misclassified images).
"""

import json
import sys
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxmodels.data import ImageData, LoadingConfig, load_images, make_source
from jaxmodels.errors import InputError
from jaxmodels.metrics import classification_report, expected_calibration_error
from jaxmodels.models import create_model
from jaxmodels.objectives.augmentation import AugmentationConfig, make_augmentation
from jaxmodels.objectives.classifier import classifier, hyperparameters
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.preprocessing import with_preprocessing
from jaxmodels.pictures import draw_confusion, draw_image_grid
from jaxmodels.train import Evaluation, Experiment, TrainConfig, main, require_range
from jaxmodels.train.run_folder import write_text


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(OptimizerConfig, AugmentationConfig, LoadingConfig, TrainConfig):
    """Train, resume and evaluate an image classifier."""

    experiment: ClassVar[str] = "classifier"

    preset: str = ""
    """Start from a named set of flags, which others given replace. Known: net, fashion-tiny,
    fashion-resnet18, imagenet-resnet50, imagenet-vit-s16."""
    model: str = "cnn"
    """Architecture: mlp, cnn, resnet or vit."""
    variant: str = ""
    """Which resnet (tiny, cifar18, 18 or 50) or vit (tiny, s16 or b16); none: for small images."""
    hidden: tuple[int, ...] = ()
    """Widths of the hidden linear layers (mlp, cnn); none: the architecture's own."""
    batch_norm: bool = False
    """Normalise activations over the batch (mlp, cnn; a resnet does)."""
    patch: int = 0
    """Side of the squares that a vit cuts images into; 0: the variant's own."""
    dropout: float | None = None
    """Share of hidden units left out in training; None: 0.4 for mlp and cnn, else 0."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes."""
    ema: float = 0.0
    """Decay of the average of parameters and batch statistics to evaluate with; 0: no average."""
    pad: int = 0
    """Black pixels added on each side of an image."""
    epoch_lines: bool = False
    """Print lines like 'Epoch: 1, Loss: 2.249'; --log-every must be the steps of an epoch."""

    def validate(self) -> None:
        TrainConfig.validate(self)
        OptimizerConfig.validate(self)
        AugmentationConfig.validate(self)
        LoadingConfig.validate(self)
        require_range(self, ("label_smoothing", "ema"), 0, 1)
        if self.dropout is not None:
            require_range(self, ("dropout",), 0, 1)
        require_range(self, ("pad",))
        if any(width < 1 for width in self.hidden):
            raise InputError(f"hidden = {self.hidden}; expected widths of at least 1")


PRESETS = {
    # PyTorch's first example: Linear 100-50-10, ReLU, SGD 0.01, cross-entropy, 10 epochs. The
    # 8x8 digits, padded to 10x10, have the 100 inputs; an epoch is 40 steps. Under 10 s on a CPU.
    "net": ClassifierConfig(
        model="mlp",
        hidden=(50,),
        pad=1,
        batch_size=32,
        steps=400,
        optimizer="sgd",
        learning_rate=0.01,
        dropout=0.0,
        schedule="constant",
        log_every=40,
        eval_every=400,
        epoch_lines=True,
    ),
    # python -m experiments.classifier --preset fashion-tiny --data-dir DIR
    # A ResNet of 96,314 parameters, 20 epochs by Muon: 93% of the test images (published for two
    # convolutions of below 100,000 parameters: 92.5%), about ten minutes on two CPU cores.
    "fashion-tiny": ClassifierConfig(
        data="fashion_mnist",
        model="resnet",
        variant="tiny",
        steps=9375,
        optimizer="muon",
        learning_rate=0.02,
        schedule="warmup_cosine",
        warmup_steps=300,
        weight_decay=0.02,
        label_smoothing=0.1,
        flip=True,
        crop=2,
        erasing=0.25,
        ema=0.999,
        eval_every=1875,
        checkpoint_every=1875,
        log_every=375,
    ),
    # python -m experiments.classifier --preset fashion-resnet18 --data-dir DIR
    # ResNet-18 for small images (11.2 million parameters), 60 epochs. To reach: 94.9% of the test
    # images, published for a ResNet-18. For a GPU; a step is 128 images of 0.9 GFLOP, 90 TFLOP an
    # epoch with its gradients. Not yet run to the end.
    "fashion-resnet18": ClassifierConfig(
        data="fashion_mnist",
        model="resnet",
        variant="cifar18",
        batch_size=128,
        steps=28_125,
        optimizer="momentum",
        learning_rate=0.05,
        schedule="warmup_cosine",
        warmup_steps=500,
        weight_decay=5e-4,
        label_smoothing=0.1,
        flip=True,
        crop=2,
        erasing=0.25,
        ema=0.999,
        eval_every=2344,
        checkpoint_every=2344,
        log_every=469,
    ),
    # python -m experiments.classifier --preset imagenet-resnet50 --data-dir DIR
    # 90 epochs of 224 pixels, batch 1024, rate 0.1 per 256 images after 5 epochs of warm-up (Goyal
    # et al. 2017), cosine and label smoothing (He et al. 2019). To reach: 76.5% top-1, as published
    # for such recipes, in half a day on 8 GPUs of the A100 class. Not yet run.
    "imagenet-resnet50": ClassifierConfig(
        data="imagenet2012",
        model="resnet",
        variant="50",
        image_size=224,
        batch_size=1024,
        steps=112_603,
        optimizer="momentum",
        learning_rate=0.4,
        schedule="warmup_cosine",
        warmup_steps=6256,
        weight_decay=1e-4,
        label_smoothing=0.1,
        flip=True,
        precision="bfloat16",
        eval_batch_size=1000,
        eval_every=12_512,
        checkpoint_every=2502,
        log_every=250,
    ),
    # python -m experiments.classifier --preset imagenet-vit-s16 --data-dir DIR
    # ViT-S/16 with mean pooling and fixed positions, 90 epochs (Beyer et al. 2022, "Better plain
    # ViT baselines for ImageNet-1k"). To reach: 76.5% top-1, published there, in 6 h 30 min on a
    # TPU v3-8. Not yet run.
    "imagenet-vit-s16": ClassifierConfig(
        data="imagenet2012",
        model="vit",
        variant="s16",
        image_size=224,
        batch_size=1024,
        steps=112_603,
        optimizer="adamw",
        learning_rate=1e-3,
        schedule="warmup_cosine",
        warmup_steps=10_000,
        # Theirs is 1e-4 times the schedule alone; ours is times the rate too.
        weight_decay=0.1,
        clip=1.0,
        flip=True,
        rand_augment_layers=2,
        rand_augment_magnitude=10.0,
        mixup=0.2,
        precision="bfloat16",
        eval_batch_size=1000,
        eval_every=12_512,
        checkpoint_every=2502,
        log_every=250,
    ),
}


def build(config: ClassifierConfig) -> Experiment:
    """The experiment that a config describes."""
    data = load_images(
        config.data,
        config.data_dir,
        skip_bad_records=config.skip_bad_records,
        validation_fraction=config.validation_fraction,
        varying=config.image_size > 0,
    )
    if not data.class_names:
        raise InputError(f"data '{config.data}' has no labels; a classifier needs a class label")
    classes = len(data.class_names)
    normalize = data.normalization()
    dropout = config.dropout
    if dropout is None:
        dropout = 0.4 if config.model in ("mlp", "cnn") else 0.0
    options = {
        name: getattr(config, name)
        for name in ("variant", "hidden", "batch_norm", "patch")
        if getattr(config, name)
    }
    objective = classifier(
        create_model(config.model, classes, jnp.dtype(config.precision), **options),
        classes,
        config,
        steps=config.steps,
        label_smoothing=config.label_smoothing,
        dropout=dropout,
        ema=config.ema,
        accumulate=config.accumulate,
    )

    def prepare(batch, key):
        sides = ((0, 0), (config.pad, config.pad), (config.pad, config.pad), (0, 0))
        return {**batch, "image": normalize(jnp.pad(batch["image"], sides))}

    augment = make_augmentation(config, classes, data.white)
    return Experiment(
        objective=with_preprocessing(objective, prepare, augment),
        hyperparameters=hyperparameters(config, config.label_smoothing, dropout, config.ema),
        train=make_source(data, "train", config),
        evaluation={
            split: make_source(data, split, config)
            for split in ("validation", "test")
            if split in data.sizes
        },
        monitor=("accuracy", "max"),
        facts={"data": data.facts(), "normalization": normalize._asdict()},
        after_evaluation=_Report(data),
        describe=_epoch_line(config, data) if config.epoch_lines else None,
    )


class _Report:
    """Scores per class and pictures of the last evaluation, of test if there is a test split."""

    def __init__(self, data: ImageData):
        self._data = data
        self._reports: dict[str, dict] = {}

    def __call__(self, evaluation: Evaluation) -> None:
        workdir = evaluation.workdir
        if workdir is None or not evaluation.is_last:
            return
        names, sums = self._data.class_names, evaluation.sums
        self._reports[evaluation.split] = {
            "step": evaluation.step,
            "loss": sums.loss.value(),
            "top5": sums.top5.value(),
            "ece": expected_calibration_error(sums.calibration),
            **classification_report(sums.confusion, names),
        }
        write_text(workdir / "evaluation.json", json.dumps(self._reports, indent=1) + "\n")
        title = f"{evaluation.split}, step {evaluation.step}"
        draw_confusion(sums.confusion, names, workdir / "samples" / "confusion.png", title)
        _draw_misclassified(evaluation, self._data.labels(evaluation.split), names, title)


def _draw_misclassified(
    evaluation: Evaluation, labels: np.ndarray, names: tuple[str, ...], title: str, most: int = 40
) -> None:
    """The wrong predictions, the most confident first."""
    logits = evaluation.predict()["logits"]
    confidence = jax.nn.softmax(logits).max(-1)
    wrong = np.flatnonzero(logits.argmax(-1) != labels)
    title += f": {len(wrong)} of {len(labels)} wrong (true > predicted, confidence)"
    wrong = wrong[np.argsort(-np.asarray(confidence)[wrong], kind="stable")][:most]
    path = evaluation.workdir / "samples" / "misclassified.png"
    path.unlink(missing_ok=True)
    if len(wrong):
        titles = [
            f"{names[labels[row]]} > {names[logits[row].argmax()]}\n{confidence[row]:.2f}"
            for row in wrong
        ]
        images = evaluation.source.examples(wrong)["image"]
        draw_image_grid(images, path, titles, title=title)


def _epoch_line(config: ClassifierConfig, data: ImageData):
    size = data.sizes["train"]
    if config.log_every * config.batch_size != size:
        raise InputError(
            f"log_every = {config.log_every}; expected the steps of an epoch, {size} images /"
            f" batch_size {config.batch_size} = {size / config.batch_size:g}, with --epoch-lines"
        )

    def describe(step: int, split: str, scores: dict[str, float]) -> str | None:
        epoch = step * config.batch_size // size
        return f"Epoch: {epoch}, Loss: {scores['loss']:.3f}" if split == "train" else None

    return describe


if __name__ == "__main__":
    sys.exit(main(ClassifierConfig, build, PRESETS))
