"""Data sets of pictures with boxes, and what is known of them without decoding."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxmodels.data.absent import NAMED, Absent, kept_identity
from jaxmodels.data.boxes.annotations import Annotation, Annotations
from jaxmodels.data.boxes.decoder import BoxDecoder, box_spec
from jaxmodels.data.boxes.records import CleanRecords
from jaxmodels.data.dataset import TRAIN, BadRow, ColumnSpec, DataFacts, Selection, found_facts
from jaxmodels.data.images.normalization import Normalization
from jaxmodels.data.loading import fits_device
from jaxmodels.data.resident import Resident, decode_once
from jaxmodels.data.streamed import Streamed
from jaxmodels.protocol import Metadata

_VERSION = 1  # of the decoded columns in the cache


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxData:
    """Pictures with boxes: a training split and others that are evaluated. `box_spec` says which
    columns a split has.

    canvas: height and width that pictures are letterboxed to. most: boxes of a row.
    annotations: the good objects of each split, in pixels of the pictures as they are stored.
    """

    name: str
    version: str
    fingerprint: str  # of the content
    older_fingerprint: str = ""
    class_names: tuple[str, ...]
    canvas: tuple[int, int]
    most: int
    normalization: Normalization  # of the training pixels as they are stored, for each channel
    records: Mapping[str, Selection]  # the good ones
    annotations: Mapping[str, Annotations]
    folder: Path  # where decoded records are kept
    cleaning: Mapping[str, int] = field(default_factory=dict)  # what the checks counted
    skipped: tuple[BadRow, ...] = ()
    validation_fraction: float = 0.0
    loading: Literal["auto", "resident", "streamed"] = "auto"
    workers: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        """The number of pictures of each split."""
        return {split: len(records) for split, records in self.records.items()}

    @property
    def spec(self) -> ColumnSpec:
        """The shapes and types of one example."""
        return box_spec(self.canvas, self.most)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the columns of all splits."""
        per_picture = sum(int(np.prod(s.shape)) * s.dtype.itemsize for s in self.spec.values())
        return sum(self.sizes.values()) * per_picture

    @property
    def is_streamed(self) -> bool:
        """Whether pictures are read and decoded anew in every epoch."""
        if self.loading == "auto":
            return not fits_device(self.decoded_bytes)
        return self.loading == "streamed"

    def source(self, split: str) -> Resident | Streamed:
        """Makes a source of batches of the examples of a split. Resident pictures are decoded at
        the first call, and then kept."""
        records = CleanRecords(self.records[split], self.annotations[split])
        decoder = BoxDecoder(self.canvas, self.most)
        if self.is_streamed:
            return Streamed(records, decoder, self.spec, self.workers)
        height, width = self.canvas
        folder = self.folder / f"{split}-{height}x{width}-{self.most}-{_VERSION}"
        columns = decode_once(f"{self.name}/{split}", records, decoder, self.spec, folder)
        return Resident(columns, records.key)

    def truth(self, split: str) -> list[Annotation]:
        """Returns the objects of each picture of a split, in order, in pixels of the picture as it
        is stored: what detections are scored against."""
        annotations = self.annotations[split]
        return [annotations[row] for row in range(len(annotations))]

    def key(self, split: str, row: int) -> str:
        """Returns the name of a picture."""
        return self.records[split].key(row)

    def counts(self, split: str) -> list[int]:
        """Counts the objects of each class, without crowds."""
        _, labels, crowd = self.annotations[split].all
        return np.bincount(labels[~crowd], minlength=len(self.class_names)).tolist()

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_boxes` needs, as JSON values."""
        return {
            "class_names": list(self.class_names),
            "canvas": list(self.canvas),
            "most": self.most,
            "normalization": self.normalization._asdict(),
        }

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": self.sizes,
            "canvas": list(self.canvas),
            "most_boxes": self.most,
        }
        facts |= found_facts(self.cleaning, self.skipped)
        if self.validation_fraction:
            facts["validation_fraction"] = self.validation_fraction
        return DataFacts(facts, self.older_fingerprint)

    def summary(self) -> str:
        """Says in one line how many pictures and objects there are, of which classes."""
        pictures = ", ".join(
            f"{split} {size:,} pictures with {sum(self.counts(split)):,} objects"
            for split, size in self.sizes.items()
        )
        counts = self.counts(TRAIN)
        order = np.argsort([-count for count in counts], kind="stable")[:10].tolist()
        classes = ", ".join(f"{self.class_names[label]} {counts[label]:,}" for label in order)
        more = len(counts) - len(order)
        found = "".join(f"; {count:,} {what}" for what, count in self.cleaning.items())
        others = f" and {more:,} more classes" if more > 0 else ""
        return f"{pictures}; trained on {classes}{others}{found}"


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentBoxes(Absent, BoxData):
    """Pictures with boxes, without the pictures."""


def absent_boxes(kept: Metadata) -> AbsentBoxes:
    """Makes pictures with boxes, without the pictures, of what a run has kept of them."""
    values = kept.values
    height, width = values["canvas"]
    found = {name: tuple(numbers) for name, numbers in values["normalization"].items()}
    return AbsentBoxes(
        **kept_identity(kept, *NAMED),
        class_names=tuple(values["class_names"]),
        canvas=(height, width),
        most=values["most"],
        normalization=Normalization(**found),
        records={},
        annotations={},
        folder=Path(),
    )


def relabelled(data: BoxData, labels: tuple[int, ...], class_names: tuple[str, ...]) -> BoxData:
    """Gives objects other labels: label k becomes labels[k]."""
    table = np.asarray(labels, np.int32)
    changed = {}
    for split, objects in data.annotations.items():
        rows = (objects[row] for row in range(len(objects)))
        others = [row._replace(labels=table[row.labels]) for row in rows]
        changed[split] = Annotations(others, objects.sizes)
    digest = hashlib.sha256(repr(labels).encode()).hexdigest()[:8]
    folder = data.folder / f"labels-{digest}"
    return replace(data, annotations=changed, class_names=class_names, folder=folder)
