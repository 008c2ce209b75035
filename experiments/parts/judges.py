"""Judges: networks whose features of generated images are scored.

A judge is a classifier of experiments.classifier, the FID Inception network with weights from a
file, or, without labels and weights, the pixels. Judges are made at their first use, because a
classifier may have to be trained.
"""

import contextlib
import hashlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Num, UInt8

from experiments import classifier
from jaxmodels.cache import cache_folder
from jaxmodels.data.absent import Absent
from jaxmodels.data.images import DataConfig, ImageData, load
from jaxmodels.errors import InputError, Stopped
from jaxmodels.metrics.generative import Features
from jaxmodels.train import Role, configure, train
from jaxmodels.train.evaluation import map_examples
from jaxmodels.train.identity import is_path, workdir_of
from jaxmodels.train.modes import Run, load_run
from jaxmodels.train.run_folder import RunFolder

if TYPE_CHECKING:
    from jaxmodels.train.trainer import Result

Images = UInt8[np.ndarray, "count height width channels"]


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """The judges of samples."""

    judge: Annotated[str, Role.READ] = ""
    """Run folder of experiments.classifier, whose features are scored; empty: a classifier of this
    data, which is trained once and kept (without labels: the pixels)."""
    inception: Annotated[str, Role.READ] = ""
    """File with the weights of the FID Inception network, for FID, KID and Inception score: the
    published one, or what python -m jaxmodels.models.inception_weights makes of it."""

    def space(self, has_labels: bool) -> str:
        """Names the feature space of the monitored score."""
        if self.judge or has_labels:
            return "classifier"
        return "inception" if self.inception else "pixels"


@dataclass(frozen=True)
class Judge:
    """A judge: its feature space (a key of `metrics.generative.NAMES`), record and network."""

    space: str
    protocol: dict[str, Any]
    look: Callable[[Images], dict]

    def __call__(self, images: Images) -> Features:
        """Computes features and logits of images in 0..255."""
        seen = self.look(images)
        return Features(seen["features"], seen.get("logits"))


def stored_images(state, batch, key):
    """Returns the images of a batch as they are stored."""
    return batch["image"]


def to_bytes(
    images: Num[np.ndarray, "count height width channels"], white: float
) -> UInt8[np.ndarray, "count height width channels"]:
    """Converts images in 0..white to the 0..255 that judges take."""
    scaled = np.asarray(images, np.float32) * (255 / white)
    return np.round(scaled.clip(0, 255)).astype(np.uint8)


class Judges:
    """The judges of a config; the monitored score is by the first.

    data: the training data of a classifier, if one is trained. shape: of the images to judge.
    flags: those by which the data were loaded; None: the data were given.
    """

    def __init__(
        self,
        config: JudgeConfig,
        data: ImageData,
        shape: tuple[int, ...],
        flags: DataConfig | None = None,
    ):
        self._config, self._data, self._shape, self._flags = config, data, shape, flags

    def require(self) -> None:
        """Raises InputError for a named judge that is missing or cannot take these images; makes no
        judge of a classifier."""
        config, channels = self._config, self._shape[2]
        if config.judge:
            record = RunFolder(config.judge).record("judge")
            if record is None or record["experiment"] != "classifier":
                raise InputError(
                    f"judge {config.judge} holds no run of 'classifier'; name one, or leave --judge"
                    " out"
                )
            _require_channels(config.judge, len(record["facts"]["normalization"]["mean"]), channels)
        if config.inception:
            _inception(config.inception, self._shape)

    @cached_property
    def all(self) -> list[Judge]:
        """The judges, which are made at the first use.

        Raises:
          InputError: no such run or weights, or images that a judge cannot take.
          Stopped: on request, while training the classifier.
        """
        config, shape = self._config, self._shape
        judges = [_inception(config.inception, shape)] if config.inception else []
        if config.judge:
            judges.insert(0, _classifier(config.judge, *_load(config.judge), shape))
        elif self._data.class_names:
            if isinstance(self._data, Absent):
                raise InputError(
                    f"judge = ''; it would be a classifier of data '{self._data.name}', which are"
                    " not where they were: bring them back, or name its run, --judge RUN"
                )
            folder = _train_classifier(self._data, self._flags, shape)
            judges.insert(0, _classifier(folder, *_load(folder, self._data), shape))
        return judges or [Judge("pixels", {"features": "pixels, 0..1"}, _pixels)]


def _pixels(images):
    return {"features": images.reshape(len(images), -1).astype(np.float32) / 255}


def _load(path: str, data: ImageData | None = None) -> tuple[Run, ImageData]:
    """Loads a classifier's run, and its data unless they are given."""
    loaded = []

    def build(config: classifier.ClassifierConfig):
        loaded.append(data or load(config.data, varying=config.crop.varying))
        return classifier.build(config, loaded[-1])

    return load_run(path, classifier.ClassifierConfig, build), loaded[-1]


def _train_classifier(data: ImageData, flags: DataConfig | None, shape: tuple[int, ...]) -> str:
    """Trains the default classifier of this data, unless it is kept; returns its run folder.

    The folder is named by the fingerprint, so that data that moved or were copied have the same
    judge, and other data of the same name have another one.
    """
    changes: dict[str, Any] = {
        "batch_size": min(128, data.sizes["train"]),
        "mesh": "data=1",
        "accept_code_change": True,
    }
    if data.shape is None:  # images of several sizes are cut to that of those to judge
        changes["image_size"] = shape[0]
    if flags:
        changes["validation_fraction"] = flags.validation_fraction
        changes["skip_bad_records"] = flags.skip_bad_records
    config = configure(classifier.ClassifierConfig(), data=data.name, **changes)
    # The name has the config, because other defaults of the classifier make another judge.
    name = f"{workdir_of(config).name}-{data.version}-{data.fingerprint}"
    workdir = str(cache_folder("judges") / name)
    if flags:  # the paths are absolute, so that the run can be read from any folder
        config = configure(config, data=_absolute(flags.data), loading=flags.loading)
        config = configure(config, workers=flags.workers)
        if flags.data_dir:
            config = configure(config, data_dir=str(Path(flags.data_dir).expanduser().resolve()))
    result = _trained(configure(config, workdir=workdir), data)
    if not result.finished:
        raise Stopped(f"stopped while training the judge in {workdir}; run it again")
    return workdir


def _trained(config: classifier.ClassifierConfig, data: ImageData) -> "Result":
    """Trains the judge, as a step of its own: a heading and, indented, a line for each evaluation.
    Standard output is for the experiment itself."""
    begun = (Path(str(config.run.workdir)) / "config.json").exists()
    if not begun:
        print(f"judge: training a classifier of {data.name}, which is kept", file=sys.stderr)
    said = Indented(sys.stderr)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        result = train(classifier.build, config, data)
    if not begun:
        accuracy = result.scores.get("test", {}).get("accuracy")
        reached = "" if accuracy is None else f", test accuracy {accuracy:.4g}"
        print(f"judge: ready at step {result.step:,}{reached}", file=sys.stderr)
    return result


class Indented(io.TextIOBase):
    """A stream that indents lines. Of an evaluation it shows the first two scores, and of training
    none."""

    def __init__(self, stream: TextIO):
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            words = line.split(" ")
            if line.startswith("step="):
                line = "" if "train/" in words[1] else " ".join(words[:3])
            if line:
                self._stream.write(f"  {line}\n")
        self._stream.flush()
        return len(text)


def _absolute(data: str) -> str:
    return str(Path(data).expanduser().resolve()) if is_path(data) else data


def _classifier(path: str, run: Run, data: ImageData, shape: tuple[int, ...]) -> Judge:
    size, white = run.experiment.train.spec(1)["image"].shape[1:], data.white
    _require_channels(path, size[2], shape[2])
    leaves = jax.tree.leaves(run.state)
    digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))

    def predict(state, batch, key):
        images = batch["image"].astype(jnp.float32) * (white / 255)
        if images.shape[1:3] != size[:2]:
            images = jax.image.resize(images, (len(images), *size), "bilinear")
        return run.experiment.prediction.predict(state, {**batch, "image": images}, key)

    resized = (
        "none" if size[:2] == tuple(shape[:2]) else f"{size[0]}x{size[1]}, bilinear, antialias"
    )
    protocol = {
        "features": "what the last linear layer of a classifier sees",
        "classifier": f"{data.name}-{run.config.model.model}",
        "classifier_step": run.step,
        "classifier_test_accuracy": run.scores.get("test", {}).get("accuracy"),
        "fingerprint": digest.hexdigest()[:16],
        "resize": resized,
        "scaling": f"0..255 to 0..{white:g}, then normalised as in its training",
    }
    return Judge("classifier", protocol, lambda images: run.map(predict, {"image": images}))


def _require_channels(path: str, seen: int, given: int) -> None:
    if seen != given:
        raise InputError(
            f"judge {path} sees images of {seen} channels; these have {given}:"
            " name a run on this data, or leave --judge out"
        )


def _inception(path: str, shape: tuple[int, ...]) -> Judge:
    from jaxmodels.models.inception import FIDInception
    from jaxmodels.models.inception_weights import load_inception

    if shape[2] not in (1, 3):
        raise InputError(
            f"inception = {path}; sees images of 1 or 3 channels, these have {shape[2]}"
        )
    variables = load_inception(path)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]

    def predict(variables, batch, key):
        images = batch["image"]
        coloured = jnp.broadcast_to(images, (*images.shape[:3], 3))
        return FIDInception().apply(variables, coloured)._asdict()

    protocol = {
        "features": "FID Inception, 2048 of its last pooling",
        "fingerprint": digest,
        "resize": "299x299, bilinear as in TensorFlow 1",
        "scaling": "(x - 128) / 128",
    }
    look = lambda images: map_examples(predict, variables, {"image": images})  # noqa: E731
    return Judge("inception", protocol, look)
