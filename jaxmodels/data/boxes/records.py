"""Pictures with boxes as records, whatever they are stored as.

A record of a split has

    image       the bytes of a picture's file, or its pixels, uint8 [height, width, 3]
    boxes       [object, 4]: x0, y0, x1, y1
    relative    whether boxes are in shares of the picture's sides, not in pixels
    labels      [object], -1: unknown
    crowd       [object]
    said        optional: what the file calls the class of each object
    flaws       optional: (kind, reason) of objects that could not be read at all
    declared    optional: the height and width that the file of boxes says; None: nothing
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.boxes.annotations import Annotations
from jaxmodels.data.dataset import BadRecord, Record, Records, Selection
from jaxmodels.data.images.decoding import decode_image
from jaxmodels.data.images.folder import read_picture

CHANNELS = 3


def pixels_of(image: Any) -> np.ndarray:
    """Returns the pixels of a record's image, in RGB.

    Raises:
      BadRecord: it cannot be decoded, or has transparent pixels or more than 8 bits.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != CHANNELS or image.dtype != np.uint8:
            raise BadRecord(
                f"has an array {image.dtype} {image.shape}; expected uint8 [height, width, 3]",
                "shape",
            )
        return image
    return decode_image(image, CHANNELS, np.uint8)


@dataclass(frozen=True)
class Converted:
    """`Records` whose records a function makes of others."""

    records: Records
    convert: Callable[[Record], Record]

    def __len__(self) -> int:
        return len(self.records)

    def key(self, row: int) -> str:
        """Returns the name of a record."""
        return self.records.key(row)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads and converts these records."""
        return [self.convert(record) for record in self.records.read(rows)]


class FileRecords:
    """`Records` of picture files, whose objects are in memory. Copies in other processes have the
    pictures alone: objects are looked at once, when they are checked.

    paths: of the pictures, below the folder. objects: the other values of each record; with
      "broken", the reason why it is bad.
    """

    def __init__(self, folder: Path, paths: Sequence[str], objects: Sequence[Mapping[str, Any]]):
        self._folder, self._paths = folder, paths
        self._objects: Sequence[Mapping[str, Any]] | None = objects

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_objects": None}

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, row: int) -> str:
        """Returns the path below the folder, with slashes."""
        return self._paths[row]

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads the pictures of these rows."""
        records = []
        for row in rows:
            objects = self._objects[row] if self._objects is not None else {}
            if "broken" in objects:
                raise BadRecord(objects["broken"], "unreadable")
            records.append({"image": read_picture(self._folder / self._paths[row]), **objects})
        return records


class CleanRecords:
    """`Records` of good pictures with their good objects, as the decoder wants them.

    annotations: of the selection's records, in pixels of the picture.
    """

    def __init__(self, selection: Selection, annotations: Annotations):
        self._selection, self._annotations = selection, annotations

    def __len__(self) -> int:
        return len(self._selection)

    def key(self, row: int) -> str:
        """Returns the name of a record."""
        return self._selection.key(row)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads these records: "image", "annotation" and "image_id", the row where it is stored."""
        found = self._selection.read(rows)
        return [
            {
                "image": record["image"],
                "annotation": self._annotations[row],
                "image_id": int(self._selection.rows[row]),
            }
            for row, record in zip(rows, found, strict=True)
        ]
