"""A detector as weights under names of its own, and as a program from pixels to boxes."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from experiments.exports.common import Exports
from jaxmodels.data.boxes import BoxData
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.models.detectors import DetectionModels, own_names
from jaxmodels.models.options import chosen_options
from jaxmodels.objectives.descent import learned_of
from jaxmodels.objectives.detection import Detection
from jaxmodels.objectives.preprocessing import Change
from jaxmodels.pretrained import save
from jaxmodels.pretrained.programs import Program, exports_of
from jaxmodels.protocol import State


def export_detector(
    models: DetectionModels,
    data: BoxData,
    normalization: Normalization,
    state: State,
    output: Path,
) -> None:
    """Writes the folder of a detector, of the averaged weights where there are some."""
    learned = learned_of(state, "batch_stats")
    config: dict[str, Any] = {
        "model_type": f"jaxmodels_{models.model}",
        **asdict(chosen_options(models)),
        "labels": list(data.class_names),
        "canvas": list(data.canvas),
        "pixel_mean": list(normalization.mean),
        "pixel_std": list(normalization.std),
    }
    save(output, learned, own_names(flatten_dict(learned, sep="/")), config)


def detection_programs(detector: Detection, prepare: Change, data: BoxData) -> Exports:
    """Exports `detect`: pictures on their canvas -> boxes, scores and labels."""
    spec = {"image": jax.ShapeDtypeStruct(data.spec["image"].shape, data.spec["image"].dtype)}
    no_key: Any = None

    def run(variables: Any, inputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        image = prepare(inputs, no_key)["image"]
        outputs = detector.model.apply(variables, image, train=False)
        found = detector.detections(outputs)
        return {name: jnp.asarray(column) for name, column in found._asdict().items()}

    height, width = data.canvas
    meanings = {
        "image": f"RGB pixels, resized in proportion into the top left of {height}x{width}",
        "boxes": "(x0, y0, x1, y1) in pixels of the canvas, the surest first",
        "scores": "in 0..1",
        "labels": "rows of labels; -1: there is no more",
    }
    program = Program(run, spec, meanings, lambda state: learned_of(state, "batch_stats"))
    return exports_of({"detect": program}, {"labels": list(data.class_names)})
