"""The mode sample: images that a model makes, into a file or a folder of pictures; or texts."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.errors import InputError, RunError
from jaxmodels.files import whole_folder, write_atomically
from jaxmodels.train.config import Config
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.outputs import on_one_device, output_of, restored_of
from jaxmodels.train.predictions import predicted
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.texts import write_texts
from jaxmodels.train.trainer import Trainer, require_sample

_ARRAYS = ".npz"


def sample(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Draws samples with a checkpoint, or with an `input` makes its examples anew, into `output`: a
    file of arrays, or a folder of PNGs; returns a line that says so.

    Raises:
      InputError: nothing to sample, no output, or no checkpoint.
      RunError: none of the examples of the input could be read.
    """
    if experiment.texts:
        return write_texts(experiment, experiment.texts, config, folder)
    run = config.run
    output = output_of(run.output, _ARRAYS, folder=True)
    if run.input:
        return _rebuild(experiment, config, folder, output)
    step, columns = _drawn(experiment, config, folder)
    if output.suffix == _ARRAYS:
        write_atomically(output, lambda file: np.savez(file, **columns))
    else:
        _write_pictures(output, ((image, "") for image in columns["images"]))
    count = len(next(iter(columns.values())))
    return f"step={step} count={count} output={run.output} workdir={folder.path}"


def _drawn(experiment: Experiment, config: Config, folder: RunFolder) -> tuple[int, Any]:
    """Returns the step, and samples by the conditions of the experiment or so many as asked."""
    require_sample(experiment, config.experiment)
    trainer = Trainer(experiment, config, folder)
    key = trainer.program.keys.sample
    conditions = experiment.conditions(key) if experiment.conditions else config.run.count
    step, state = restored_of(trainer)
    return step, trainer.sample(state, key, conditions)


def _rebuild(experiment: Experiment, config: Config, folder: RunFolder, output: Path) -> str:
    """Makes images anew from the examples that `input` names, a batch at a time. Those that cannot
    be read are noted on standard error and left out; the others keep their numbers."""
    prediction, run = experiment.prediction, config.run
    if prediction is None or prediction.rebuild is None:
        raise InputError(
            f"input = {run.input}; {config.experiment} makes no images of given ones: leave out"
            " --input, or use --mode predict"
        )
    step, state = restored_of(Trainer(experiment, config, folder))
    anew = prediction._replace(predict=prediction.rebuild, write=lambda image: {"image": image})
    lines = predicted(anew, on_one_device(state), Path(str(run.input)), run.eval_batch_size)
    counts = {"count": 0, "failed": 0}

    def images() -> Iterator[tuple[np.ndarray | None, str]]:
        for line in lines:
            counts["count"] += 1
            if "error" in line:
                counts["failed"] += 1
                print(f"note: {line['input']} {line['error']}; it is left out", file=sys.stderr)
            yield line.get("image"), line["input"]
        if counts["failed"] == counts["count"]:
            raise RunError(f"none of {counts['count']} inputs could be read: see above")

    if output.suffix == _ARRAYS:
        good = [(image, name) for image, name in images() if image is not None]
        pictures, names = np.stack([i for i, _ in good]), np.array([n for _, n in good])
        write_atomically(output, lambda file: np.savez(file, images=pictures, names=names))
    else:
        _write_pictures(output, images())
    counted = " ".join(f"{name}={count}" for name, count in counts.items())
    return f"step={step} {counted} output={run.output} workdir={folder.path}"


def _write_pictures(folder: Path, images: Iterable[tuple[np.ndarray | None, str]]) -> None:
    """Writes images as PNGs, numbered in their order, into a folder that appears as a whole."""
    from PIL import Image

    with whole_folder(folder) as partial:
        for number, (image, name) in enumerate(images):
            if image is None:
                continue
            label = f"-{Path(name).stem}" if name else ""
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            Image.fromarray(pixels).save(partial / f"{number:05d}{label}.png")
