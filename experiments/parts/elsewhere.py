"""Other images to evaluate a GAN or VAE on, prepared as those that it was trained on."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from jaxmodels.data.images import (
    ImageData,
    load,
    require_levels,
    resize_images,
    sources_elsewhere,
)
from jaxmodels.train import Elsewhere


def images_elsewhere(data: ImageData, conditional: bool) -> Callable[[Any], Elsewhere]:
    """Makes the function that opens the images that a config names, resized as `data` is.

    data: the run's own, already resized. conditional: whether the model is told the class; then the
      classes of the images have to be among those of `data`, otherwise they are not looked at.
    """
    return partial(_open, data, conditional)


def _open(data: ImageData, conditional: bool, config: Any) -> Elsewhere:
    flags, size = replace(config.data, validation_fraction=0.0), config.resize.image_size
    other = resize_images(load(flags, varying=size > 0), size)
    require_levels(data, other)
    sources = sources_elsewhere(data, other, labelled=conditional)
    return Elsewhere(other.name, other.fingerprint, sources)
