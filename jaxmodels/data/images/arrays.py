"""Images that lie in arrays in memory, say those of a notebook, as a data set."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from jaxmodels.data.dataset import TRAIN, BadRecord, Columns, common_length, evaluation_splits
from jaxmodels.data.images.checking import pixels_of
from jaxmodels.data.images.crops import central_crop_of
from jaxmodels.data.images.image_data import ImageData
from jaxmodels.data.images.resize import resize_image
from jaxmodels.errors import InputError

_LAYOUT = "[example, height, width, channels]"


def images_from_arrays(
    splits: Mapping[str, Columns], name: str = "arrays", class_names: Sequence[str] | None = None
) -> ImageData:
    """Makes the data set of these splits: {"train": {"image": ..., "label": ...}, "test": ...}.

    Each split has the column "image", [example, height, width, channels], of integers or floats
    in one range. All splits or none have "label", [example], of integers from 0. The objective gets
    other columns as they are. Numbers of 64 bits become numbers of 32.

    class_names: what the labels mean; None: "0", "1", ... up to the largest label.

    Raises:
      InputError: no training split, or columns that are not as above; it names split and column.
    """
    if TRAIN not in splits:
        raise InputError(
            f"data '{name}' has no training split; expected '{TRAIN}'. Found:"
            f" {', '.join(splits) or 'none'}"
        )
    columns = {
        split: _columns(f"{name}/{split}", splits[split])
        for split in [TRAIN, *evaluation_splits(splits)]
    }
    _require_alike(name, columns)
    labels = [split["label"] for split in columns.values() if "label" in split]
    names = _class_names(name, labels, class_names)
    return data_of_arrays(name, "arrays", _fingerprint(columns, names), columns, names)


def data_of_arrays(
    name: str,
    version: str,
    fingerprint: str,
    splits: Mapping[str, Columns],
    class_names: tuple[str, ...],
) -> ImageData:
    """Makes the data set of arrays that are known to be as `images_from_arrays` wants them."""
    return ImageData(
        name=name,
        version=version,
        fingerprint=fingerprint,
        pixels=pixels_of(splits),
        class_names=class_names,
        arrays=splits,
    )


def _columns(where: str, columns: Columns) -> dict[str, np.ndarray]:
    if "image" not in columns:
        raise InputError(
            f"data '{where}' has no column 'image'; found: {', '.join(columns) or 'none'}"
        )
    checked = {name: _in_32_bits(f"{where}/{name}", column) for name, column in columns.items()}
    try:
        common_length(checked)
    except InputError as error:
        raise InputError(f"data '{where}' has {error}") from None
    checked["image"] = _images(where, checked["image"])
    if "label" in checked:
        checked["label"] = _labels(where, checked["label"])
    return checked


def _in_32_bits(where: str, column: np.ndarray) -> np.ndarray:
    """Converts a column to numbers of at most 32 bits.

    Raises:
      InputError: it is no array of numbers, or has integers that 32 bits do not hold.
    """
    column = np.asarray(column)
    if column.dtype.kind not in "biuf" or not column.ndim:
        raise InputError(
            f"'{where}' is an array of {column.dtype} with shape {column.shape}; expected numbers"
            " that lead with the example axis"
        )
    if column.dtype == bool:
        return column.astype(np.uint8)
    if column.dtype.itemsize < 8:
        return column
    if column.dtype.kind == "f":
        return column.astype(np.float32)
    if column.size and (column.min() < -(2**31) or column.max() >= 2**31):
        raise InputError(f"'{where}' has integers of more than 32 bits; expected at most 2^31 - 1")
    return column.astype(np.int32)


def _images(where: str, images: np.ndarray) -> Num[np.ndarray, "example height width channels"]:
    if images.ndim != 4 or 0 in images.shape:
        hint = "; add the axis of channels: image[..., None]" if images.ndim == 3 else ""
        raise InputError(
            f"'{where}/image' has shape {images.shape}; expected {_LAYOUT}, all above 0{hint}"
        )
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise InputError(f"'{where}/image' has pixels that are not finite; expected numbers")
    return images


def _labels(where: str, labels: np.ndarray) -> Int[np.ndarray, " example"]:
    if labels.ndim != 1 or labels.dtype.kind == "f":
        raise InputError(
            f"'{where}/label' is an array of {labels.dtype} with shape {labels.shape}; expected"
            " one integer for each example"
        )
    if labels.min() < 0:
        raise InputError(f"'{where}/label' has {labels.min()}; expected labels from 0")
    return labels.astype(np.int32)


def _require_alike(name: str, splits: Mapping[str, Columns]) -> None:
    """Refuses splits that differ in their columns, or in the shapes or types of these."""
    first = splits[TRAIN]
    for split, columns in splits.items():
        if columns.keys() != first.keys():
            raise InputError(
                f"data '{name}' has columns {', '.join(columns)} in {split}; expected"
                f" {', '.join(first)}, as in {TRAIN}"
            )
        for column, like in first.items():
            found = columns[column]
            if (found.shape[1:], found.dtype) != (like.shape[1:], like.dtype):
                raise InputError(
                    f"'{name}/{split}/{column}' has examples of {found.dtype} with shape"
                    f" {found.shape[1:]}; expected {like.dtype} with {like.shape[1:]}, as in"
                    f" {TRAIN}"
                )


def _class_names(
    name: str, labels: Sequence[np.ndarray], class_names: Sequence[str] | None
) -> tuple[str, ...]:
    if not labels:
        if class_names:
            raise InputError(
                f"class_names = {tuple(class_names)}; data '{name}' has no column 'label'"
            )
        return ()
    largest = max(int(column.max()) for column in labels)
    if class_names is None:
        return tuple(map(str, range(largest + 1)))
    if largest >= len(class_names):
        raise InputError(
            f"data '{name}' has label {largest}; expected 0 to {len(class_names) - 1}, as there"
            f" are {len(class_names)} class_names"
        )
    return tuple(class_names)


def _fingerprint(splits: Mapping[str, Columns], class_names: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr(class_names).encode())
    for split, columns in splits.items():
        for name, column in sorted(columns.items()):
            digest.update(f"{split}/{name} {column.dtype} {column.shape}".encode())
            digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()[:16]


def read_arrays(
    images: Any, data: ImageData, size: int = 0
) -> Iterator[tuple[str, dict[str, np.ndarray] | BadRecord]]:
    """Yields name and columns, as `data` has them, of images in memory, to predict for. The names
    count from "0". For an image that cannot be used, a BadRecord takes the place of its columns.

    images: [example, height, width, channels], a list of [height, width, channels], or
      {"image": one of these}. size: as in `read_pictures`.

    Raises:
      InputError: they are of another type than those of `data`, or are no numbers.
    """
    if isinstance(images, Mapping):
        images = _columns("images", images)["image"]
    for row, image in enumerate(images):
        image = np.asarray(image)
        image = _in_32_bits(f"image {row}", image if image.ndim else image[None])
        if image.dtype != data.dtype:
            raise InputError(
                f"image {row} has pixels of {image.dtype}; expected {data.dtype}, as the run's data"
            )
        try:
            yield str(row), {"image": _fitting(image, data, size)}
        except BadRecord as error:
            yield str(row), error


def _fitting(image: np.ndarray, data: ImageData, size: int) -> np.ndarray:
    """Returns an image of the size that a model takes."""
    channels = data.pixels.channels
    if image.ndim != 3 or 0 in image.shape or image.shape[2] != channels:
        expected = f"[height, width, {channels}]"
        raise BadRecord(f"has shape {image.shape}; expected {expected}", "channels")
    if size:
        return central_crop_of(image, size)
    if data.image_size:
        return resize_image(image, data.image_size)
    if image.shape != data.shape:
        raise BadRecord(f"has shape {image.shape}; expected {data.shape}", "size")
    return image
