"""Feature spaces in which generated images are scored: what a judge sees in an image.

A classifier trained by experiments.classifier, the FID Inception network with weights from a file,
or, where there are neither labels nor weights, the pixels.
"""

import contextlib
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Num, UInt8

from experiments import classifier
from jaxmodels.cache import cache_folder
from jaxmodels.data import ImageData
from jaxmodels.errors import InputError, Stopped
from jaxmodels.metrics.generative import Features
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.train import train
from jaxmodels.train.config import workdir_of
from jaxmodels.train.modes import load_run

CHUNK = 250


@dataclass(frozen=True)
class Judge:
    """A space of features, by name (a key of `metrics.generative.NAMES`), and its record."""

    space: str
    protocol: dict[str, Any]
    look: Callable[[UInt8[np.ndarray, "count height width channels"]], dict]

    def __call__(self, images: UInt8[np.ndarray, "count height width channels"]) -> Features:
        """Features and logits of images in 0..255, a chunk at a time."""
        parts = []
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            # Padded to whole chunks, so that one compiled program serves all.
            padded = np.pad(chunk, [(0, CHUNK - len(chunk))] + [(0, 0)] * 3)
            parts.append(jax.device_get(self.look(padded)))
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(images)], *parts)
        return Features(whole["features"], whole.get("logits"))


def to_bytes(
    images: Num[np.ndarray, "count height width channels"], white: float
) -> UInt8[np.ndarray, "count height width channels"]:
    """Images in 0..white as judges see them, in 0..255."""
    scaled = np.asarray(images, np.float32) * (255 / white)
    return np.round(scaled.clip(0, 255)).astype(np.uint8)


def judges_of(
    data: ImageData, data_dir: str | None, run: str, inception: str, shape: tuple[int, ...]
) -> list[Judge]:
    """The judges that flags ask for, the one that the monitored score is of first.

    run: folder of a run of experiments.classifier; "": a classifier of this data that is trained
    once and kept in the cache, or the pixels if there are no labels. inception: file of weights.

    Raises:
      InputError: no such run or weights, or images that a judge cannot take.
      Stopped: on request, while training the classifier.
    """
    found = [_inception(inception, shape)] if inception else []
    if run:
        found.insert(0, _classifier(run, shape))
    elif data.class_names:
        folder = _train_classifier(data, data_dir)
        found.insert(0, _classifier(folder, shape, data_dir=data_dir))
    return found or [Judge("pixels", {"features": "pixels, 0..1"}, _pixels)]


def _pixels(images):
    return {"features": images.reshape(len(images), -1).astype(np.float32) / 255}


def _jit(function):
    return jax.jit(function, compiler_options=cpu_compiler_options())


def _train_classifier(data: ImageData, data_dir: str | None) -> str:
    """The folder of a run with the classifier's defaults on this data, trained if it is not yet."""
    config = classifier.ClassifierConfig(
        data=data.name,
        data_dir=data_dir,
        batch_size=min(128, len(data.splits["train"]["image"])),
        mesh="data=1",
        accept_code_change=True,
    )
    # Other defaults of the classifier are another judge.
    name = f"{workdir_of(config).name}-{data.version}-{data.fingerprint}"
    config = replace(config, workdir=str(cache_folder("judges") / name))
    # What it prints is none of the experiment's output.
    with contextlib.redirect_stdout(sys.stderr):
        result = train(classifier.build, config)
    if not result.finished:
        raise Stopped(f"stopped while training the judge in {config.workdir}; run it again")
    return config.workdir


def _classifier(run: str, shape: tuple[int, ...], **changes: object) -> Judge:
    judge = load_run(classifier.ClassifierConfig, classifier.build, run, **changes)
    images = judge.experiment.train.arrays["image"]
    size, white = images.shape[1:], float(images.max())
    if size[2] != shape[2]:
        raise InputError(
            f"judge {run} sees images of {size[2]} channels; these have {shape[2]}:"
            " name a run on this data, or leave --judge out"
        )
    state = jax.device_put(jax.device_get(judge.state), jax.devices()[0])
    digest = hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(state)))

    @_jit
    def look(images):
        images = images.astype(jnp.float32) * (white / 255)
        if images.shape[1:3] != size[:2]:
            images = jax.image.resize(images, (len(images), *size), "bilinear")
        return judge.experiment.objective.predict(state, {"image": images}, jax.random.key(0))

    resized = (
        "none" if size[:2] == tuple(shape[:2]) else f"{size[0]}x{size[1]}, bilinear, antialias"
    )
    protocol = {
        "features": "what the last linear layer of a classifier sees",
        "classifier": f"{judge.config.data}-{judge.config.model}",
        "classifier_step": judge.step,
        "classifier_test_accuracy": judge.scores.get("test", {}).get("accuracy"),
        "fingerprint": digest.hexdigest()[:16],
        "resize": resized,
        "scaling": f"0..255 to 0..{white:g}, then normalised as in its training",
    }
    return Judge("classifier", protocol, look)


def _inception(path: str, shape: tuple[int, ...]) -> Judge:
    from jaxmodels.models.inception import FIDInception
    from jaxmodels.models.inception_weights import load_inception

    if shape[2] not in (1, 3):
        raise InputError(
            f"inception = {path}; sees images of 1 or 3 channels, these have {shape[2]}"
        )
    variables = load_inception(path)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]

    @_jit
    def look(images):
        coloured = jnp.broadcast_to(images, (*images.shape[:3], 3))
        return FIDInception().apply(variables, coloured)._asdict()

    protocol = {
        "features": "FID Inception, 2048 of its last pooling",
        "fingerprint": digest,
        "resize": "299x299, bilinear as in TensorFlow 1",
        "scaling": "(x - 128) / 128",
    }
    return Judge("inception", protocol, look)
