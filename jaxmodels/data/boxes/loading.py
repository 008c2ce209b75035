"""Pictures with boxes by flags: what is loaded, and how it gets to the device."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from jaxmodels.cache import cache_folder
from jaxmodels.data.boxes.arrays import boxes_from_arrays
from jaxmodels.data.boxes.box_data import BoxData, absent_boxes
from jaxmodels.data.boxes.checking import MENDS, Examined, examine
from jaxmodels.data.boxes.digits import NAME, scattered_digits
from jaxmodels.data.boxes.files import open_box_files
from jaxmodels.data.boxes.tfds_boxes import open_tfds_boxes
from jaxmodels.data.carving import carve, check_fraction
from jaxmodels.data.checking import check_policy
from jaxmodels.data.dataset import TRAIN, Dataset
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.errors import InputError, require_known
from jaxmodels.files import is_path
from jaxmodels.protocol import Metadata
from jaxmodels.roles import Role

_VERSION = 2  # of the findings in the cache
_SMALLEST = 16  # pixels of a canvas's side
_MULTIPLE = 4  # of the number of boxes in a row
_CANVAS = {NAME: (96, 96)}
_OTHERS = (320, 320)


@dataclass(frozen=True, kw_only=True)
class BoxConfig:
    """Which pictures with boxes, and how they get to the device."""

    data: str = NAME
    """Data set: digits (generated: handwritten digits scattered on canvases), a tfds data set with
    an image and objects{bbox, label} prepared as ArrayRecord, or a path: a COCO file .json, or a
    folder with COCO files, with Pascal VOC's .xml or with YOLO's .txt beside the pictures."""
    data_dir: Annotated[str | None, Role.HOW] = None
    """Folder of tfds data sets; None: tfds's own default."""
    image_size: tuple[int, ...] = ()
    """Side of the square canvas that pictures are resized into with their sides in proportion, or
    its height and width; none: 96 for digits, else 320."""
    most_boxes: int = 0
    """Boxes of a picture that training sees at most, the largest; 0: all of them. All of them
    count in evaluations."""
    skip_bad_records: Annotated[int, Role.HOW] = 0
    """Most pictures that may be bad (broken, in two splits, with boxes that are reversed, empty,
    outside, of an unknown class). Bad boxes are left out alone; more bad pictures are an error
    that lists them."""
    validation_fraction: float = 0.0
    """Share of the training split to validate with, where the data has no validation split."""
    loading: Annotated[Literal["auto", "resident", "streamed"], Role.HOW] = "auto"
    """resident: all pictures lie on the device; streamed: they are read and decoded while it works;
    auto: resident where they fit into half of its memory."""
    workers: Annotated[int, Role.HOW] = 0
    """Processes that decode streamed pictures; 0: threads, which are enough on one machine."""

    def validate(self) -> None:
        """Raises InputError for a value out of range."""
        for name in ("most_boxes", "skip_bad_records", "workers"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least 0")
        check_fraction(self.data, False, self.validation_fraction)
        require_known("loading", self.loading, ("auto", "resident", "streamed"))
        if len(self.image_size) > 2 or any(side < _SMALLEST for side in self.image_size):
            shown = " ".join(map(str, self.image_size))
            raise InputError(
                f"image_size = {shown}; expected one side, or height and width, of at least"
                f" {_SMALLEST} pixels, as --image-size 320 or --image-size 240 320"
            )

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        if not self.image_size:
            return _CANVAS.get(self.data, _OTHERS)
        return self.image_size[0], self.image_size[-1]


def load_boxes(config: BoxConfig, given: Any = None) -> BoxData:
    """Loads the pictures with boxes that a config describes. All records are checked at first; the
    findings are kept, and later loading reads no record.

    given: pictures to take in their place: a `BoxData`, {"train": {"image": [...], "boxes": [...],
      "labels": [...]}, "test": ...}, what `boxes_from_arrays` makes of these with class names, or
      what a run has kept of some.

    Raises:
      InputError: an unknown name, or data that is not prepared, in another format, without boxes or
        a training split, with more bad records, or with a validation split where one is to be made.
    """
    if isinstance(given, Metadata):
        return absent_boxes(given)
    if isinstance(given, BoxData):
        return given
    config.validate()
    stored = _opened(config.data, config.data_dir) if given is None else _in_memory(given)
    classes = tuple(stored.names.get("labels", ()))
    check_fraction(stored.name, "validation" in stored.splits, config.validation_fraction)
    parts = carve(stored.name, stored.splits, config.validation_fraction)
    folder = _folder(stored, config.validation_fraction)
    checked = folder / "records"
    examined = examine(stored.name, parts, len(classes), checked)
    findings = examined.findings
    check_policy(stored.name, findings.bad, config.skip_bad_records, checked, MENDS)
    _require_something(stored.name, examined)
    return BoxData(
        name=stored.name,
        version=stored.version,
        fingerprint=stored.fingerprint,
        older_fingerprint=stored.older_fingerprint,
        class_names=classes,
        canvas=config.canvas,
        most=config.most_boxes or _most(examined),
        normalization=Normalization(*map(tuple, findings.facts["normalization"])),
        records=findings.splits,
        annotations=examined.annotations,
        folder=folder,
        cleaning=findings.facts["cleaning"],
        skipped=findings.bad,
        validation_fraction=config.validation_fraction,
        loading=config.loading,
        workers=config.workers,
    )


def _in_memory(given: Any) -> Dataset:
    if isinstance(given, Dataset):
        return given
    if not isinstance(given, Mapping):
        raise InputError(
            f"data is a {type(given).__name__}; expected {{'train': {{'image': [...], 'boxes':"
            " [...], 'labels': [...]}, 'test': ...}"
        )
    return boxes_from_arrays(given)


def _opened(name: str, data_dir: str | None) -> Dataset:
    path = Path(name).expanduser()
    if name == NAME:
        if os.path.isdir(name):
            print(f"note: data '{name}' is generated; the folder is ./{name}", file=sys.stderr)
        return scattered_digits()
    if is_path(name) or path.is_file():
        return open_box_files(path)
    try:
        return open_tfds_boxes(name, data_dir)
    except InputError as error:
        if path.is_dir():
            raise InputError(f"{error}. For the folder of that name: --data ./{name}") from None
        raise


def _require_something(name: str, examined: Examined) -> None:
    """Requires something to train on.

    Raises:
      InputError: there is no good training picture, or no good object in one.
    """
    if TRAIN not in examined.findings.splits:
        raise InputError(f"data '{name}' has no good picture in its training split; expected some")
    if not len(examined.annotations[TRAIN].all.labels):
        raise InputError(f"data '{name}' has no good box in its training split; expected some")


def _most(examined: Examined) -> int:
    """Returns the room for the boxes of every picture."""
    most = max(int(objects.counts.max()) for objects in examined.annotations.values())
    return -(-most // _MULTIPLE) * _MULTIPLE


def _folder(stored: Dataset, validation_fraction: float) -> Path:
    """Returns the folder of findings and decoded pictures, which depend on all of these."""
    name = f"{stored.name[:100]}-{stored.version}-{stored.fingerprint}-boxes{_VERSION}"
    if validation_fraction:
        name += f"-validation{validation_fraction!r}"
    return cache_folder("data") / name
