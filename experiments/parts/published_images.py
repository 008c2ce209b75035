"""What published weights tell a classifier of images: its classes, and how pixels are scaled."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.images import ImageData, images_from_arrays
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.errors import InputError
from jaxmodels.models.classifiers import (
    ClassifierModels,
    classes_of_published,
    images_of_published,
)
from jaxmodels.pretrained import Weights, open_weights

NONE = "none"  # the name of the data that has classes and no images


def flags_of_images(weights: Weights) -> dict[str, Any]:
    """Returns how pixels are scaled, as flags."""
    expected = images_of_published(weights)
    return {"pixel_mean": tuple(expected.mean), "pixel_std": tuple(expected.std)}


def flags_alone(weights: Weights) -> dict[str, Any]:
    """Returns flags for weights that are used as they are: their classes, and their size."""
    size = images_of_published(weights).size
    return {"data": NONE, "image_size": size, "batch_size": 1}  # of one picture in place of all


def classes_without_images(models: ClassifierModels, init_from: str | None, size: int) -> ImageData:
    """Makes data with the classes of published weights, and one picture in place of all.

    Raises:
      InputError: no weights are named.
    """
    if init_from is None:
        raise InputError(
            f"data = {NONE}; it has the classes of published weights and no images: name the"
            " weights, --init-from PATH, or other data, --data NAME"
        )
    names = classes_of_published(models, open_weights(Path(init_from)))
    image = np.zeros((1, size or 1, size or 1, 3), np.uint8)
    image[0, 0, 0] = 255
    columns = {"image": image, "label": np.zeros(1, np.int32)}
    return images_from_arrays({"train": columns}, NONE, names)


def white_of(data: ImageData) -> float:
    """Returns the pixel that publishers of weights scale to 1: the largest integer of the type,
    whether an image has it or not; of floats the largest in training."""
    integers = np.issubdtype(data.dtype, np.integer)
    return float(np.iinfo(data.dtype).max) if integers else data.white


def normalization_of(
    data: ImageData, mean: tuple[float, ...], std: tuple[float, ...]
) -> Normalization:
    """Returns the normalisation by the given mean and standard deviation, of pixels in 0..1; by
    those of the training split where both are empty.

    Raises:
      InputError: they are not one number for each channel.
    """
    if not mean and not std:
        return data.normalization()
    channels = data.pixels.channels
    grey = channels == 1 and len(mean) == 3
    if len(mean) != len(std) or (len(mean) != channels and not grey):
        raise InputError(
            f"pixel_mean = {mean}, pixel_std = {std}; expected a number for each of {channels}"
            " channels"
        )
    white = white_of(data)
    return Normalization(tuple(m * white for m in mean), tuple(s * white for s in std))
