"""The objects of pictures: boxes with labels, any number for each picture."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmodels.data.kept import save_array


class Annotation(NamedTuple):
    """The objects of one picture.

    A box is (x0, y0, x1, y1) in pixels, where a pixel's left edge has the coordinate of its column,
    so that x1 - x0 is a width. A crowd is a box around several objects, or around one that is too
    hard to see; it is neither learned nor counted as missed.
    """

    boxes: Float[np.ndarray, "object 4"]
    labels: Int[np.ndarray, " object"]
    crowd: Bool[np.ndarray, " object"]


def annotation(boxes, labels, crowd=None) -> Annotation:
    """Makes an Annotation of lists or arrays, which may be empty. crowd: None: there is none."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    labels = np.asarray(labels, np.int32).reshape(-1)
    crowd = np.zeros(len(boxes), bool) if crowd is None else np.asarray(crowd, bool).reshape(-1)
    return Annotation(boxes, labels, crowd)


class Annotations:
    """The objects of all pictures of a split, one after another in memory.

    sizes: height and width of each picture.
    """

    def __init__(self, objects: Iterable[Annotation], sizes: Int[np.ndarray, "picture 2"]):
        objects = list(objects)
        empty = [annotation([], [])]
        columns = zip(*(objects or empty), strict=True)
        self.all = Annotation(*(np.concatenate(column) for column in columns))
        self.starts = np.cumsum([0, *(len(found.labels) for found in objects)])
        self.sizes = np.asarray(sizes, np.int32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, row: int) -> Annotation:
        start, stop = self.starts[row], self.starts[row + 1]
        return Annotation(*(column[start:stop] for column in self.all))

    @property
    def counts(self) -> Int[np.ndarray, " picture"]:
        """The number of objects of each picture."""
        return np.diff(self.starts)

    def save(self, folder: Path, split: str) -> None:
        """Writes the arrays for `load_annotations`."""
        for name, column in self.all._asdict().items():
            save_array(folder / f"{split}-{name}.npy", column)
        save_array(folder / f"{split}-starts.npy", self.starts)
        save_array(folder / f"{split}-sizes.npy", self.sizes)


def load_annotations(folder: Path, split: str) -> Annotations:
    """Reads what `Annotations.save` has written."""

    def column(name):
        return np.load(folder / f"{split}-{name}.npy")

    loaded = Annotations([], column("sizes"))
    loaded.all = Annotation(*(column(name) for name in Annotation._fields))
    loaded.starts = column("starts")
    return loaded
