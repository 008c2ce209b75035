"""Other images with the classes of a run's, to score a trained model on."""

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxmodels.data.dataset import TRAIN, Draw, Record, splits_elsewhere
from jaxmodels.data.images.decoder import ImageDecoder
from jaxmodels.data.images.image_data import ImageData
from jaxmodels.data.resident import Resident
from jaxmodels.data.streamed import Streamed
from jaxmodels.errors import InputError, listed


def sources_elsewhere(
    data: ImageData, other: ImageData, crop: int = 0, labelled: bool = True
) -> dict[str, Resident | Streamed]:
    """Makes sources of the evaluation splits of other images, or of all of them as the split "all"
    where they have none. They are decoded, cut and labelled as those of `data`: classes are matched
    by their names. Classes that the other images lack are noted on standard error.

    crop: side of the square that images are cut to; 0: as they are. labelled: whether labels are
    needed; otherwise classes are not looked at.

    Raises:
      InputError: images without classes, of classes that `data` lacks, or of another format.
    """
    labels = _matched(data, other) if labelled else None
    _require_format(data, other, crop)
    splits = splits_elsewhere(other.sizes)
    return {name: _source(data, other, split, labels, crop) for name, split in splits.items()}


def _matched(data: ImageData, other: ImageData) -> tuple[int, ...]:
    """Returns the label in `data` of each class of the other images."""
    known = data.class_names
    if not other.class_names:
        raise InputError(
            f"data '{other.name}' has no labels; expected classes among {listed(known)}"
        )
    unknown = [name for name in other.class_names if name not in known]
    if unknown:
        raise InputError(
            f"data '{other.name}' has classes that the run lacks: {listed(unknown)}; expected some"
            f" of {listed(known)}: rename them, or take them out"
        )
    missing = [name for name in known if name not in other.class_names]
    if missing:
        print(f"note: data '{other.name}' lacks classes: {listed(missing)}", file=sys.stderr)
    return tuple(known.index(name) for name in other.class_names)


def require_levels(data: ImageData, other: ImageData) -> None:
    """Requires pixels that mean what those of `data` mean, for a model of the pixels themselves.

    Raises:
      InputError: brighter or darker ones, or levels of grey where `data` is black and white.
    """
    ranges = [f"{d.smallest:g}..{d.white:g}" for d in (data, other)]
    if other.white > data.white or other.smallest < data.smallest:
        raise InputError(
            f"data '{other.name}' has pixels in {ranges[1]}; expected {ranges[0]}, as the run's"
            " data: scale them"
        )
    if data.levels == 2 and other.levels != 2:
        raise InputError(
            f"data '{other.name}' has levels of grey; expected black and white, as the run's data"
        )


def _require_format(data: ImageData, other: ImageData, crop: int) -> None:
    channels = (data.pixels.channels, other.pixels.channels)
    if channels[0] != channels[1] and channels != (3, 1):  # grey becomes RGB
        raise InputError(
            f"data '{other.name}' has images of {channels[1]} channels; expected {channels[0]}, as"
            f" the run's data: convert them"
        )
    if data.dtype != other.dtype:
        raise InputError(
            f"data '{other.name}' has pixels of {other.dtype}; expected {data.dtype}, as the run's"
            " data: convert them"
        )
    shapes = [images.shape and images.shape[:2] for images in (data, other)]
    if not crop and shapes[0] != shapes[1]:
        found = "several sizes" if shapes[1] is None else f"{shapes[1][0]}x{shapes[1][1]} pixels"
        expected = "" if shapes[0] is None else f" {shapes[0][0]}x{shapes[0][1]}"
        raise InputError(
            f"data '{other.name}' has images of {found}; expected{expected}, as the run's data:"
            " resize them, or train with --image-size N, which brings images to one size"
        )


def _source(
    data: ImageData, other: ImageData, split: str, labels: tuple[int, ...] | None, crop: int
) -> Resident | Streamed:
    if other.records:
        decoder = replace(data.decoder(crop), labelled=labels is not None)
        spec = dict(data.spec(TRAIN, crop))
        if labels is None:
            spec.pop("label", None)
        return Streamed(other.records[split], _Relabelled(decoder, labels), spec)
    if crop:
        raise InputError(
            f"data '{other.name}' lies in arrays and cannot be cut; expected data of files"
        )
    columns = other.arrays[split]
    image = columns["image"]
    if image.shape[-1] != data.pixels.channels:
        image = np.repeat(image, data.pixels.channels, axis=-1)
    if labels is None:
        return Resident({"image": image})
    label = np.asarray(labels, np.int32)[columns["label"]]
    return Resident({**columns, "image": image, "label": label})


@dataclass(frozen=True)
class _Relabelled:
    """A decoder whose labels, if there are some, become those of another data set."""

    decoder: ImageDecoder
    labels: tuple[int, ...] | None

    def __call__(self, record: Record, draw: Draw | None = None) -> dict[str, Any]:
        columns = self.decoder(record, draw)
        if self.labels is None:
            return columns
        return {**columns, "label": self.labels[columns["label"]]}
