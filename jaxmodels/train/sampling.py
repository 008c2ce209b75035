"""The mode sample: images that a model makes, into a file or a folder of pictures; or texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.errors import InputError, RunError
from jaxmodels.files import whole_folder, write_atomically
from jaxmodels.train.config import Config
from jaxmodels.train.evaluation import map_examples
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.loop import Trainer, require_sample
from jaxmodels.train.outputs import on_one_device, output_of, restored_of
from jaxmodels.train.run_folder import RunFolder
from jaxmodels.train.texts import write_texts

_ARRAYS = ".npz"


def sample(experiment: Experiment, config: Config, folder: RunFolder) -> str:
    """Draws samples with a checkpoint, or with an `input` makes its examples anew, into `output`: a
    file of arrays, or a folder of PNGs; returns a line that says so.

    Raises:
      InputError: nothing to sample, no output, or no checkpoint.
    """
    if experiment.texts:
        return write_texts(experiment, experiment.texts, config, folder)
    run = config.run
    output = output_of(run.output, _ARRAYS, folder=True)
    made = _rebuilt if run.input else _drawn
    step, columns = made(experiment, config, folder)
    if output.suffix == _ARRAYS:
        write_atomically(output, lambda file: np.savez(file, **columns))
    else:
        _write_pictures(output, columns)
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


def _rebuilt(experiment: Experiment, config: Config, folder: RunFolder) -> tuple[int, Any]:
    """Returns the step, and the images made anew from the examples that `input` names."""
    prediction = experiment.prediction
    if prediction is None or prediction.rebuild is None:
        raise InputError(
            f"input = {config.run.input}; {config.experiment} makes no images of given ones: leave"
            " out --input, or use --mode predict"
        )
    trainer = Trainer(experiment, config, folder)
    step, state = restored_of(trainer)
    names, read = [], []
    for name, columns in prediction.read(Path(config.run.input or "")):
        if isinstance(columns, Exception):
            raise RunError(f"input {name} {columns}; mend it, or take it out")
        names.append(name)
        read.append(columns)
    batch = {name: np.stack([columns[name] for columns in read]) for name in read[0]}
    images = map_examples(
        prediction.rebuild, on_one_device(state), batch, config.run.eval_batch_size
    )
    return step, {"images": images, "names": np.array(names)}


def _write_pictures(folder: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes images as PNGs, numbered in their order, into a folder that appears as a whole."""
    from PIL import Image

    images = columns["images"]
    names = columns.get("names", [""] * len(images))
    with whole_folder(folder) as partial:
        for number, (image, name) in enumerate(zip(images, names, strict=True)):
            label = f"-{Path(str(name)).stem}" if name else ""
            pixels = image[..., 0] if image.shape[-1] == 1 else image
            Image.fromarray(pixels).save(partial / f"{number:05d}{label}.png")
