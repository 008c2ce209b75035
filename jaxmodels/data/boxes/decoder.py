"""The decoder of a picture with boxes to the columns that a detector is given."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxmodels.data.boxes.letterbox import letterbox, scale_of
from jaxmodels.data.boxes.records import CHANNELS, pixels_of
from jaxmodels.data.dataset import ColumnSpec, Draw, Record


def box_spec(canvas: tuple[int, int], most: int) -> ColumnSpec:
    """Returns shapes and types of one example.

    `image` is letterboxed (see `letterbox`); `boxes` are in pixels of the canvas, and where there
    are less than `most`, `labels` are -1; `scale` is canvas / original; `size` is the original's
    height and width; `image_id` the row in the split as it is stored.
    """
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "image": ((*canvas, CHANNELS), np.uint8),
        "boxes": ((most, 4), np.float32),
        "labels": ((most,), np.int32),
        "crowd": ((most,), np.bool_),
        "scale": ((), np.float32),
        "size": ((2,), np.int32),
        "image_id": ((), np.int32),
    }
    return {name: jax.ShapeDtypeStruct(*like) for name, like in shapes.items()}


@dataclass(frozen=True)
class BoxDecoder:
    """A `Decode` of the records of `CleanRecords` to the columns of `box_spec`.

    A picture with more than `most` boxes keeps the largest.
    """

    canvas: tuple[int, int]
    most: int

    def __call__(self, record: Record, draw: Draw | None = None) -> dict[str, Any]:
        """Decodes a record.

        Raises:
          BadRecord: its picture cannot be decoded.
        """
        columns = letterboxed(record["image"], self.canvas)
        boxes, labels, crowd = record["annotation"]
        if len(boxes) > self.most:
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            largest = np.sort(np.argsort(-areas, kind="stable")[: self.most])
            boxes, labels, crowd = boxes[largest], labels[largest], crowd[largest]
        padding = self.most - len(boxes)
        boxes = np.pad(boxes, ((0, padding), (0, 0)))
        return {
            **columns,
            "boxes": (boxes * float(columns["scale"])).astype(np.float32),
            "labels": np.pad(labels, (0, padding), constant_values=-1),
            "crowd": np.pad(crowd, (0, padding)),
            "image_id": np.int32(record["image_id"]),
        }


def letterboxed(image: Any, canvas: tuple[int, int]) -> dict[str, Any]:
    """Makes the columns of a picture alone: "image", "scale" and "size".

    Raises:
      BadRecord: it cannot be decoded.
    """
    pixels = pixels_of(image)
    size = pixels.shape[:2]
    return {
        "image": letterbox(pixels, canvas),
        "scale": np.float32(scale_of(size, canvas)),
        "size": np.array(size, np.int32),
    }
