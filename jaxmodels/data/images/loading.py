"""Images by flags: what is loaded, and how it gets to the device."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from jaxmodels.cache import cache_folder
from jaxmodels.data.absent import AbsentExamples
from jaxmodels.data.carving import carve, check_fraction
from jaxmodels.data.checking import Findings, check_policy
from jaxmodels.data.dataset import TRAIN, Dataset
from jaxmodels.data.images.arrays import data_of_arrays
from jaxmodels.data.images.checking import Format, examine, pixels_from_json
from jaxmodels.data.images.crops import AREA
from jaxmodels.data.images.digits import load_digits
from jaxmodels.data.images.image_data import AbsentImages, ImageData, absent_images
from jaxmodels.data.images.stored import open_images
from jaxmodels.data.loading import fits_device
from jaxmodels.data.resident import Resident
from jaxmodels.data.streamed import Streamed
from jaxmodels.errors import InputError, require_known
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_MENDS = {
    "size": "--image-size N brings images to one size",
    "channels": "ImageMagick gives files a ground and three colours: mogrify -background white"
    " -alpha remove -alpha off -colorspace sRGB -type TrueColor FILE (grey: -colorspace Gray)",
    "type": "ImageMagick gives files 8 bits: mogrify -depth 8 FILE",
}
_LOADING = ("auto", "resident", "streamed")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they get to the device."""

    data: str = "digits"
    """Data set: digits (embedded), a tfds image data set prepared as ArrayRecord, or a folder of
    images, as ./photos with train/CLASS/*.jpg or CLASS/*.jpg (and validation, test); none: the
    classes of published weights, for a classifier's predict and export with --init-from."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most records that may be bad (broken, of another shape, of no class, in two splits) and are
    left out; more are an error that lists them."""
    validation_fraction: float = 0.0
    """Share of the training split to validate with, where the data has no validation split."""
    loading: Annotated[Literal["auto", "resident", "streamed"], Role.HOW] = "auto"
    """resident: all images lie on the device; streamed: they are read and decoded while it works;
    auto: resident where they fit into half of its memory."""
    workers: Annotated[int, Role.HOW] = 0
    """Processes that decode streamed images; 0: threads, which are enough on one machine."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        _require_natural("skip_bad_records", self.skip_bad_records)
        _require_natural("workers", self.workers)
        check_fraction(self.data, False, self.validation_fraction)
        require_known("loading", self.loading, _LOADING)


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """How images are brought to one size: cut while they are streamed, or resized once."""

    resize: int = 0
    """Side of the square that whole images are resized to, whatever their shape, so that they lie
    on the device where they fit; 0: as they are."""
    image_size: int = 0
    """Side of the square that images are cut to: in training a random crop, anew in every epoch,
    while they are streamed; in evaluation the centre, kept on the device where it fits; 0: as they
    are."""
    crop_scale: tuple[float, float] = AREA
    """Smallest and largest share of the area that a random crop keeps, with --image-size."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        _require_natural("resize", self.resize)
        _require_natural("image_size", self.image_size)
        if self.resize and self.image_size:
            raise InputError(
                f"resize = {self.resize}, image_size = {self.image_size}; images are cut, or"
                " resized: give one of them"
            )
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise InputError(
                f"crop_scale = {low:g} {high:g}; expected two shares of the area, 0 < LOW <= HIGH"
                " <= 1, as --crop-scale 0.3 1"
            )
        if self.crop_scale != AREA and not self.image_size:
            raise InputError(
                f"crop_scale = {low:g} {high:g}, image_size = 0; images are cut only with"
                " --image-size N"
            )

    @property
    def varying(self) -> bool:
        """Whether images may vary in size."""
        return self.resize > 0 or self.image_size > 0


@dataclass(frozen=True, kw_only=True)
class ResizeConfig:
    """How images are brought to one size."""

    image_size: int = 0
    """Resize images to this many pixels a side; 0: as they are."""

    def validate(self) -> None:
        """Raises InputError for a number out of range."""
        _require_natural("image_size", self.image_size)


def load(config: DataConfig, varying: bool = False, given: object = None) -> ImageData:
    """Loads the images that a config describes (see `load_images`).

    given: images to return in their place, or what a run has kept of some.

    Raises:
      InputError: as `load_images`, or what is given is not image data.
    """
    if isinstance(given, Metadata):
        return absent_images(given)
    if isinstance(given, ImageData):
        return given
    if given is not None:
        raise InputError(
            f"data is a {type(given).__name__}; expected images_from_arrays({{'train': {{'image':"
            " ..., 'label': ...}, 'test': ...})"
        )
    return load_images(
        config.data,
        config.data_dir,
        skip_bad_records=config.skip_bad_records,
        validation_fraction=config.validation_fraction,
        varying=varying,
    )


def load_images(
    name: str,
    data_dir: str | Path | None = None,
    *,
    skip_bad_records: int = 0,
    validation_fraction: float = 0.0,
    varying: bool = False,
) -> ImageData:
    """Loads `digits`, an image data set that tensorflow-datasets prepared as ArrayRecord, or a
    folder of images (a path: with a separator, or a dot in front; see `open_image_folder`).

    All records are checked at first; the findings are kept, and later loading reads no record.

    data_dir: the folder of tfds; None: tfds's own default.
    skip_bad_records: how many may be bad (see `examine`) and are left out.
    validation_fraction: share of the training split that becomes the validation split.
    varying: whether images may vary in size, since they get cropped or resized.

    Raises:
      InputError: an unknown name, or data that is not prepared, in another format, without images
        or a training split, with more bad records, or with a validation split where one is to be
        made.
    """
    _require_natural("skip_bad_records", skip_bad_records)
    if name == "digits":
        if os.path.isdir(name):
            print("note: data 'digits' is embedded; the folder is ./digits", file=sys.stderr)
        check_fraction(name, True, validation_fraction)
        splits, fingerprint = load_digits()
        return data_of_arrays(name, "1.0.0", fingerprint, splits, tuple("0123456789"))
    check_fraction(name, False, validation_fraction)
    stored = open_images(name, data_dir)
    return _checked(name, stored, skip_bad_records, validation_fraction, varying)


def _checked(
    name: str, stored: Dataset, skip_bad_records: int, validation_fraction: float, varying: bool
) -> ImageData:
    """Checks a stored data set; returns its good images."""
    folder = _folder(stored, validation_fraction, varying)
    parts = carve(name, stored.splits, validation_fraction)
    class_names = stored.names.get("label", ())
    declared = stored.facts.get("image", Format())
    checked = folder / "records"
    findings = examine(stored.name, parts, declared, len(class_names), varying, checked)
    if findings.bad:
        _refuse_what_no_skipping_mends(name, findings)
    check_policy(name, findings.bad, skip_bad_records, checked, _MENDS)
    if TRAIN not in findings.splits:
        raise InputError(f"data '{name}' has no good image in its training split; expected some")
    return ImageData(
        name=stored.name,
        version=stored.version,
        fingerprint=stored.fingerprint,
        older_fingerprint=stored.older_fingerprint,
        pixels=pixels_from_json(findings.facts["pixels"]),
        class_names=class_names,
        records=findings.splits,
        folder=folder,
        skipped=findings.bad,
        validation_fraction=validation_fraction,
    )


def _refuse_what_no_skipping_mends(name: str, findings: Findings) -> None:
    """Refuses data that no --skip-bad-records could mend.

    Raises:
      InputError: no record is good, or no size is that of most images.
    """
    good, sizes = sum(map(len, findings.splits.values())), findings.facts["sizes"]
    if not good:
        first = "; ".join(map(str, findings.bad[:3]))
        raise InputError(
            f"data '{name}': all {len(findings.bad):,} images are bad, the first: {first}. Mend the"
            " data, or name other data"
        )
    most, total = sizes[0][1], sum(count for _, count in sizes)
    if 2 * most < total and any(row.kind == "size" for row in findings.bad):
        listed = ", ".join(f"{count:,} of {size}" for size, count in sizes[:5])
        more = ", ..." if len(sizes) > 5 else ""
        raise InputError(
            f"image_size = 0; the images of data '{name}' have {len(sizes):,} sizes ({listed}{more}"
            " pixels): expected images of one size, or --image-size N, which brings them to one"
        )


def is_streamed(data: ImageData, config: DataConfig, crop: int = 0) -> bool:
    """Whether the images are read anew in every epoch.

    Raises:
      InputError: streaming of data that is not stored as encoded images, or a crop of images that
        are to lie on the device.
    """
    if crop and config.loading == "resident":
        raise InputError(
            f"image_size = {crop}, loading = resident; images are cut while they are streamed:"
            " expected --loading streamed or auto"
        )
    wanted = config.loading == "streamed" or crop > 0
    if wanted and not data.records:
        raise InputError(
            f"data '{data.name}' lies in arrays and cannot be streamed or cut: expected --loading"
            " resident or auto and --image-size 0"
        )
    if config.loading == "auto" and data.records:
        return wanted or not fits_device(data.decoded_bytes)
    return wanted


def make_source(
    data: ImageData,
    split: str,
    config: DataConfig,
    crop: int = 0,
    scale: tuple[float, float] = AREA,
) -> Resident | Streamed | AbsentExamples:
    """Makes a source of batches of the examples of a split.

    crop: side of the square that images are cut to; 0: as they are. The central crops of
      evaluation splits lie on the device with `loading` auto, if those of all fit.
    scale: smallest and largest share of the area that a random crop keeps.

    Raises:
      InputError: as `is_streamed`; images of several sizes that are not brought to one.
    """
    if isinstance(data, AbsentImages):
        return data.source(split)
    if not is_streamed(data, config, crop):
        key = data.records[split].key if data.records else None
        return Resident(data.splits[split], key)
    records = data.records[split]
    if crop and split != TRAIN and config.loading == "auto" and _fits_cut(data, crop):
        print(
            f"note: {data.name}/{split}: {len(records):,} images cut to {crop}x{crop} pixels lie on"
            " the device",
            file=sys.stderr,
        )
        return Resident(data.central_crops(split, crop), records.key)
    return Streamed(records, data.decoder(crop, scale), data.spec(split, crop), config.workers)


def _fits_cut(data: ImageData, crop: int) -> bool:
    """Whether the central crops of all evaluation splits may lie on the device."""
    count = sum(size for split, size in data.sizes.items() if split != TRAIN)
    return fits_device(count * crop**2 * data.pixels.channels * data.dtype.itemsize)


def _folder(stored: Dataset, validation_fraction: float, varying: bool) -> Path:
    """Returns the folder of the findings and decoded images, which depend on all of these."""
    name = f"{stored.name[:100]}-{stored.version}-{stored.fingerprint}-upright-alpha"
    if validation_fraction:
        name += f"-validation{validation_fraction!r}"
    return cache_folder("data") / (name + "-varying" * varying)


def _require_natural(name: str, value: int) -> None:
    if value < 0:
        raise InputError(f"{name} = {value}; expected at least 0")
