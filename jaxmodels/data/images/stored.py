"""Data sets of encoded images by name: folders of files, and those of tensorflow-datasets."""

import difflib
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.dataset import Dataset
from jaxmodels.data.images.checking import Format
from jaxmodels.data.images.folder import open_image_folder
from jaxmodels.data.kinds import count_endings, kind_of_files, readers_of
from jaxmodels.data.tfds import describe_features, prepared_builder, tfds_dataset
from jaxmodels.errors import InputError
from jaxmodels.files import is_path


def open_images(name: str, data_dir: str | Path | None) -> Dataset:
    """Opens a folder of images (a path: with a separator or a dot in front), or a tfds data set.

    Its columns are "image" and, if it has classes, "label"; its fact "image" is a `Format`.

    Raises:
      InputError: as `open_image_folder` and `open_tfds_images`.
    """
    path = Path(name).expanduser()
    if is_path(name):
        if not path.is_dir():
            kind = kind_of_files(count_endings([name])) if path.is_file() else None
            if kind == "images":
                what = f"one picture; expected the folder with all: {path.parent} has it"
                raise InputError(f"data '{name}' is {what}")
            what = f"a file of {kind}: {readers_of(kind)}" if kind else f"no folder{_near(path)}"
            raise InputError(
                f"data '{name}' is {what}; expected a folder with images in train/CLASS"
            )
        return open_image_folder(path)
    try:
        return open_tfds_images(name, data_dir)
    except InputError as error:
        if path.is_dir():
            raise InputError(f"{error}. For the folder of that name: --data ./{name}") from None
        if os.sep in name:
            raise InputError(f"{error}. There is no folder {path} either") from None
        raise


def _near(path: Path) -> str:
    """Returns " (did you mean '...'?)" with the most similar folder beside one that is missing."""
    if path.exists() or not path.parent.is_dir():
        return ""
    beside = [each.name for each in path.parent.iterdir() if each.is_dir()]
    found = difflib.get_close_matches(path.name, beside, n=1)
    return f" (did you mean '{path.parent / found[0]}'?)" if found else ""


def open_tfds_images(name: str, data_dir: str | Path | None) -> Dataset:
    """Opens a data set that tfds has prepared as ArrayRecord, with one image and at most one label.

    data_dir: the folder of tfds; None: tfds's own default.

    Raises:
      InputError: the data set is unknown, not prepared, in another format, has other features, or
        has no training split.
    """
    expected = "one image and at most one class label"
    builder: Any = prepared_builder(name, data_dir, "image", expected, embedded=("digits",))
    image, label = _image_and_label(name, builder)
    columns = {"image": image} | ({"label": label} if label else {})
    feature = builder.info.features[image]
    *size, channels = feature.shape
    facts = {"image": Format(tuple(size), channels, np.dtype(feature.np_dtype))}
    return tfds_dataset(name, builder, columns, facts)


def _image_and_label(name: str, builder: Any) -> tuple[str, str | None]:
    """Returns the keys of the one image and, if there is one, of the class label."""
    import tensorflow_datasets as tfds

    def of(kind):
        return [key for key, value in builder.info.features.items() if isinstance(value, kind)]

    images, labels = of(tfds.features.Image), of(tfds.features.ClassLabel)
    if len(images) != 1:
        raise InputError(
            f"data '{name}' has {len(images)} image features; expected one."
            f" Its features: {describe_features(builder)}"
        )
    return images[0], labels[0] if len(labels) == 1 else None
