"""Data sets of images: splits of pixels and labels, and what is known of them without decoding."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxmodels.data.absent import NAMED, Absent, kept_identity
from jaxmodels.data.dataset import BadRow, Columns, ColumnSpec, DataFacts, Selection, found_facts
from jaxmodels.data.images.checking import Pixels, pixels_from_json
from jaxmodels.data.images.crops import AREA
from jaxmodels.data.images.decoder import ImageDecoder
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.data.images.resize import resize_image
from jaxmodels.data.resident import decode_once
from jaxmodels.errors import InputError
from jaxmodels.protocol import Metadata


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageData:
    """Images of a training split and of others ("validation", "test", ...) that are evaluated.

    A split has the columns "image", [example, height, width, channels] in its stored type, and
    "label" (int32) when `class_names` is not empty. All but `splits` is known without decoding.
    """

    name: str
    version: str
    fingerprint: str  # of the content
    older_fingerprint: str = ""  # the one in runs from before content was hashed
    pixels: Pixels  # as they are stored, before any resizing
    class_names: tuple[str, ...] = ()
    arrays: Mapping[str, Columns] = field(default_factory=dict)  # of data in memory
    records: Mapping[str, Selection] = field(default_factory=dict)  # good ones, of encoded data
    folder: Path = Path()  # where decoded records are kept
    skipped: tuple[BadRow, ...] = ()
    validation_fraction: float = 0.0
    image_size: int = 0  # side of the square that images are resized to; 0: as they are stored

    @property
    def is_encoded(self) -> bool:
        """Whether images are stored as files of pictures; otherwise they are arrays."""
        return bool(self.records)

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_images` needs, as JSON values."""
        return {
            "class_names": list(self.class_names),
            "pixels": self.pixels.to_json(),
            "is_encoded": self.is_encoded,
        }

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": self.sizes,
        }
        facts |= found_facts({}, self.skipped)
        if self.validation_fraction:
            facts["validation_fraction"] = self.validation_fraction
        return DataFacts(facts, self.older_fingerprint)

    @cached_property
    def splits(self) -> Mapping[str, Any]:
        """The `Columns` of each split. An encoded split is decoded when it is looked up first, and
        then kept; listing the splits decodes nothing."""
        return _DecodedSplits(self) if self.records else self.arrays

    @property
    def sizes(self) -> dict[str, int]:
        """The number of images of each split."""
        if self.records:
            return {split: len(records) for split, records in self.records.items()}
        return {split: len(columns["image"]) for split, columns in self.arrays.items()}

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Height, width, channels; None where sizes vary."""
        size = (self.image_size, self.image_size) if self.image_size else self.pixels.size
        return size and (*size, self.pixels.channels)

    @property
    def dtype(self) -> np.dtype:
        """The type of the stored pixels."""
        return self.pixels.dtype

    @property
    def white(self) -> float:
        """The largest value of a stored pixel of the training split."""
        return self.pixels.largest

    @property
    def smallest(self) -> float:
        """The smallest value of a stored pixel of the training split."""
        return self.pixels.smallest

    @property
    def levels(self) -> int:
        """How many values a pixel may have: 2 where all are black or white, else 1 + white; 0 where
        pixels are not integers."""
        if not np.issubdtype(self.dtype, np.integer):
            return 0
        return 2 if self.pixels.black_and_white and not self.image_size else int(self.white) + 1

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded pixels of all splits."""
        if not self.image_size:
            return self.pixels.decoded_bytes
        per_image = self.image_size**2 * self.pixels.channels * self.dtype.itemsize
        return sum(self.sizes.values()) * per_image

    def labels(self, split: str) -> Int[np.ndarray, " example"] | None:
        """Returns the labels of a split; None where the images have none."""
        known = self.records[split].known if self.records else self.arrays[split]
        return known.get("label")

    def known_classes(self, conditional: bool) -> int:
        """Returns how many classes a model of these images is told; 0 if it is not conditional.

        Raises:
          InputError: a conditional model of images without labels.
        """
        if conditional and not self.class_names:
            raise InputError(
                f"conditional = True; data '{self.name}' has no labels: give --no-conditional"
            )
        return len(self.class_names) if conditional else 0

    def normalization(self) -> Normalization:
        """Returns the statistics of the stored training split (see `normalization_of`)."""
        return self.pixels.normalization

    def decoder(self, crop: int = 0, scale: tuple[float, float] = AREA) -> ImageDecoder:
        """Makes the decoder of encoded records.

        crop: side of the square to cut; 0: none. scale: see `ImageDecoder`.
        """
        kind = self.pixels.channels, self.dtype, bool(self.class_names)
        return ImageDecoder(*kind, self.image_size, crop, scale)

    def central_crops(self, split: str, size: int) -> Columns:
        """Returns the columns of an encoded split cut as for evaluation; they are decoded at the
        first call, and then kept."""
        arguments = self.records[split], self.decoder(size), self.spec(split, size)
        return decode_once(f"{self.name}/{split}", *arguments, self.folder / f"{split}-cut-{size}")

    def spec(self, split: str, crop: int = 0) -> ColumnSpec:
        """Returns the shapes and types of one example.

        Raises:
          InputError: the images vary in size and are neither cropped nor resized.
        """
        shape = (crop, crop, self.pixels.channels) if crop else self.shape
        if shape is None:
            raise InputError(
                f"image_size = 0; the images of {self.name}/{split} vary in size: expected"
                " --image-size N, which brings them to one, or images of one size"
            )
        image = {"image": jax.ShapeDtypeStruct(shape, self.dtype)}
        label = {"label": jax.ShapeDtypeStruct((), np.int32)}
        return image | label if self.class_names else image


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentImages(Absent, ImageData):
    """Images without the images."""

    encoded: bool

    @property
    def is_encoded(self) -> bool:
        """Whether images were stored as files of pictures."""
        return self.encoded


def absent_images(kept: Metadata) -> AbsentImages:
    """Makes images without the images of what a run has kept of them."""
    return AbsentImages(
        **kept_identity(kept, *NAMED),
        pixels=pixels_from_json(kept.values["pixels"]),
        class_names=tuple(kept.values["class_names"]),
        encoded=kept.values["is_encoded"],
    )


class _DecodedSplits(Mapping[str, Columns]):
    def __init__(self, data: ImageData):
        self._data = data

    def __getitem__(self, split: str) -> Columns:
        data = self._data
        folder = data.folder / (f"{split}-{data.image_size}" if data.image_size else split)
        arguments = data.records[split], data.decoder(), data.spec(split)
        return decode_once(f"{data.name}/{split}", *arguments, folder)

    def __contains__(self, split: object) -> bool:
        return split in self._data.records

    def __iter__(self) -> Iterator[str]:
        return iter(self._data.records)

    def __len__(self) -> int:
        return len(self._data.records)


def resize_images(data: ImageData, size: int) -> ImageData:
    """Resizes all images to size x size pixels (see `resize_image`); size 0: leaves them.

    Encoded images are resized when they are decoded.
    """
    if not size or (data.shape and data.shape[:2] == (size, size)):
        return data
    arrays = {
        split: {**columns, "image": np.stack([resize_image(i, size) for i in columns["image"]])}
        for split, columns in data.arrays.items()
    }
    return replace(data, arrays=arrays, image_size=size)
