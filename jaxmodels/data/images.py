"""Labelled or unlabelled image data sets by name."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmodels.cache import cache_folder
from jaxmodels.data.carving import carve, check_fraction
from jaxmodels.data.cleaning import check_policy, examine
from jaxmodels.data.decoded import DecodedSplits
from jaxmodels.data.normalization import Normalization, normalization_of
from jaxmodels.data.records import BadRow, CleanImages, StoredImages
from jaxmodels.errors import InputError

Columns = Mapping[str, np.ndarray]


class ImageData(NamedTuple):
    """Splits ("train", "validation", "test", as far as there are) of columns.

    Column "image" is [example, height, width, channels] in its stored type, column "label" (int32)
    is there when `class_names` is not empty. What is stored encoded is decoded when its split is
    asked for; all but `splits` is known without.
    """

    name: str
    version: str
    fingerprint: str
    splits: Mapping[str, Columns]
    class_names: tuple[str, ...]
    skipped: tuple[BadRow, ...] = ()
    validation_fraction: float = 0.0

    def facts(self) -> dict:
        """What identifies the data, for the record of a run."""
        facts = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": self.sizes,
        }
        if self.skipped:
            records = [str(row) for row in self.skipped]
            facts["skipped"] = {"count": len(records), "records": records}
        if self.validation_fraction:
            facts["validation_fraction"] = self.validation_fraction
        return facts

    @property
    def encoded(self) -> Mapping[str, CleanImages]:
        """The splits as they are stored; empty for data that is in arrays."""
        return self.splits.findings.splits if self._is_encoded else {}

    @property
    def sizes(self) -> dict[str, int]:
        """Images of each split."""
        if self._is_encoded:
            return {split: len(images) for split, images in self.encoded.items()}
        return {split: len(columns["image"]) for split, columns in self.splits.items()}

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Height, width, channels; None where sizes vary."""
        if self._is_encoded:
            return self.encoded["train"].shape
        return self.splits["train"]["image"].shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """Of the stored pixels."""
        if self._is_encoded:
            return self.encoded["train"].dtype
        return self.splits["train"]["image"].dtype

    @property
    def white(self) -> float:
        """The largest value of a pixel of the training split."""
        if self._is_encoded:
            return self.splits.findings.largest
        return float(self.splits["train"]["image"].max())

    @property
    def decoded_bytes(self) -> int:
        """Of the pixels of all splits."""
        if self._is_encoded:
            return self.splits.findings.pixel_bytes
        return sum(columns["image"].nbytes for columns in self.splits.values())

    def labels(self, split: str) -> np.ndarray | None:
        """Of all images of a split, int32; None: they have none."""
        if self._is_encoded:
            return self.encoded[split].labels
        return self.splits[split].get("label")

    def normalization(self) -> Normalization:
        """By the training split: what `normalization_of` finds."""
        if self._is_encoded:
            return self.splits.findings.normalization
        return normalization_of(self.splits["train"]["image"])

    @property
    def _is_encoded(self) -> bool:
        return isinstance(self.splits, DecodedSplits)


def load_images(
    name: str,
    data_dir: str | Path | None = None,
    *,
    skip_bad_records: int = 0,
    validation_fraction: float = 0.0,
    varying: bool = False,
) -> ImageData:
    """`digits`, any image data set prepared by tensorflow-datasets as ArrayRecord, or a folder of
    images (a path: with a separator, or with a dot in front; see `open_image_folder`).

    All records are looked at once; what is found is kept, and later loading reads no record.

    data_dir: the folder of tfds; None: tfds's own default.
    skip_bad_records: how many may be bad (see `examine`) and are left out.
    validation_fraction: share of the training split that becomes the validation split.
    varying: whether images may vary in size, since they get cropped.

    Raises:
      InputError: a name that nothing is known of, or data that is not prepared, in another format,
        without images or a training split, with more bad records, or with a validation split where
        one is to be made.
    """
    if skip_bad_records < 0:
        raise InputError(f"skip_bad_records = {skip_bad_records}; expected at least 0")
    if name == "digits":
        from jaxmodels.data.digits import load_digits

        check_fraction(name, True, validation_fraction)
        splits, fingerprint = load_digits()
        return ImageData(name, "1.0.0", fingerprint, splits, tuple("0123456789"))
    check_fraction(name, False, validation_fraction)
    stored = _open(name, data_dir)
    folder = _folder(stored, validation_fraction, varying)
    parts = carve(name, stored.splits, validation_fraction)
    findings = examine(stored.name, parts, len(stored.class_names), varying, folder / "records")
    check_policy(name, findings.bad, skip_bad_records)
    if "train" not in findings.splits:
        raise InputError(f"data '{name}' has no good image in its training split; expected some")
    return ImageData(
        stored.name,
        stored.version,
        stored.fingerprint,
        DecodedSplits(stored.name, findings, folder),
        stored.class_names,
        findings.bad,
        validation_fraction,
    )


def _open(name: str, data_dir: str | Path | None) -> StoredImages:
    path = Path(name).expanduser()
    if name.startswith((".", "~", os.sep)) or (os.sep in name and path.is_dir()):
        from jaxmodels.data.image_folder import open_image_folder

        return open_image_folder(path)
    from jaxmodels.data.tfds_images import open_tfds_images

    return open_tfds_images(name, data_dir)


def _folder(stored: StoredImages, validation_fraction: float, varying: bool) -> Path:
    """Where findings and decoded images of the data, so split, are kept."""
    name = f"{stored.name}-{stored.version}-{stored.fingerprint}-clean"
    if validation_fraction:
        name += f"-validation{validation_fraction!r}"
    return cache_folder("data") / (name + "-varying" * varying)
