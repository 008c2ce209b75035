"""Pictures with boxes in memory, say those of a notebook, as a data set."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmodels.data.boxes.annotations import annotation
from jaxmodels.data.dataset import TRAIN, Dataset, Record
from jaxmodels.errors import InputError


class ListRecords:
    """`Records` in a list."""

    def __init__(self, records: Sequence[Record]):
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def key(self, row: int) -> str:
        """Returns the row."""
        return str(row)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Returns these records."""
        return [self._records[row] for row in rows]


def boxes_from_arrays(
    splits: Mapping[str, Mapping[str, Any]],
    name: str = "arrays",
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Makes the data set of these splits: {"train": {"image": [...], "boxes": [...], "labels":
    [...]}, "test": ...}.

    Each of them has one item a picture: uint8 [height, width, 3] of any size; x0, y0, x1, y1 in
    pixels, [object, 4]; integers from 0, [object]; and, if there are some, "crowd", bool [object].

    class_names: what the labels mean; None: "0", "1", ... up to the largest label.

    Raises:
      InputError: no training split, or columns that are not as above.
    """
    if TRAIN not in splits:
        raise InputError(
            f"data '{name}' has no training split; expected '{TRAIN}'. Found:"
            f" {', '.join(splits) or 'none'}"
        )
    digest, records, largest = hashlib.sha256(), {}, 0
    for split, columns in splits.items():
        found = _records(f"{name}/{split}", columns)
        for record in found:
            labels = record["labels"]
            largest = max(largest, int(labels.max(initial=0)))
            parts = record["image"], record["boxes"], labels, record["crowd"]
            digest.update(split.encode() + repr([part.shape for part in parts]).encode())
            for part in parts:
                digest.update(np.ascontiguousarray(part).data)
        records[split] = ListRecords(found)
    names = tuple(class_names or map(str, range(largest + 1)))
    digest.update(repr(names).encode())
    fingerprint = digest.hexdigest()[:16]
    return Dataset(name, "arrays", fingerprint, records, {"labels": names})


def _records(where: str, columns: Mapping[str, Any]) -> list[Record]:
    missing = [name for name in ("image", "boxes", "labels") if name not in columns]
    if missing:
        raise InputError(
            f"data '{where}' has no column '{missing[0]}'; found: {', '.join(columns) or 'none'}"
        )
    crowds = columns.get("crowd")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"data '{where}' has columns of lengths {lengths}; expected one length")
    records = []
    for row, image in enumerate(columns["image"]):
        crowd = None if crowds is None else crowds[row]
        try:
            objects = annotation(columns["boxes"][row], columns["labels"][row], crowd)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"data '{where}', picture {row}: {error}; expected boxes [object, 4] and labels"
                " [object]"
            ) from None
        if not len(objects.boxes) == len(objects.labels) == len(objects.crowd):
            shapes = [column.shape for column in objects]
            raise InputError(
                f"data '{where}', picture {row}: boxes, labels, crowd have shapes {shapes};"
                " expected one label a box"
            )
        records.append({"image": np.asarray(image), "relative": False, **objects._asdict()})
    return records
