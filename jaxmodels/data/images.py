"""Labelled or unlabelled image data sets by name, whole in (memory-mapped) arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

Columns = Mapping[str, np.ndarray]


class ImageData(NamedTuple):
    """Splits ("train", "validation", "test", as far as there are) of columns.

    Column "image" is [example, height, width, channels] in its stored type, column "label" (int32)
    is there when `class_names` is not empty.
    """

    name: str
    version: str
    fingerprint: str
    splits: Mapping[str, Columns]
    class_names: tuple[str, ...]

    def facts(self) -> dict:
        """What identifies the data, for the record of a run."""
        return {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": {name: len(columns["image"]) for name, columns in self.splits.items()},
        }


def load_images(name: str, data_dir: str | Path | None = None) -> ImageData:
    """`digits`, or any image data set prepared by tensorflow-datasets as ArrayRecord.

    data_dir: the folder of tfds; None: tfds's own default.

    Raises:
      InputError: a name that nothing is known of, or data that is not prepared, in another format,
        without images or a training split, or with images of several shapes.
    """
    if name == "digits":
        from jaxmodels.data.digits import load_digits

        splits, fingerprint = load_digits()
        return ImageData(name, "1.0.0", fingerprint, splits, tuple("0123456789"))
    from jaxmodels.data.tfds_images import load_tfds_images

    return load_tfds_images(name, data_dir)
