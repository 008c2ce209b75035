"""Encoded images in random access: what every kind of stored data set offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int, Shaped

from jaxmodels.data.decoding import decode_image


class EncodedImages(Protocol):
    """One split as it is stored. Pickled, it is small and opens its files anew; threads may share
    one."""

    size: tuple[int | None, int | None]  # height and width that all images are said to have
    channels: int | None
    dtype: np.dtype | None

    def __len__(self) -> int: ...

    def read(self, rows: Sequence[int]) -> list[tuple[bytes, int]]:
        """The encoded image and the label (-1: it has none) of each row.

        Raises:
          BadRecord: one of the rows cannot be read.
        """
        ...

    def key(self, row: int) -> str:
        """The name of a record, which is its own as long as it exists."""
        ...


class StoredImages(NamedTuple):
    """A data set as it is stored: splits "train", "validation", "test", as far as there are."""

    name: str
    version: str
    fingerprint: str
    splits: Mapping[str, EncodedImages]
    class_names: tuple[str, ...]


class BadRow(NamedTuple):
    """A record that is left out: its row in the split as it is stored, and why.

    kind: one word, by which bad records are counted.
    """

    split: str
    row: int
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.split}[{self.row}]: {self.reason}"


class Part(NamedTuple):
    """The records that make a split: all of a stored one, or some."""

    stored: str  # name of the split
    encoded: EncodedImages
    rows: Int[np.ndarray, " record"]

    def place(self, row: int) -> str:
        """How to call a record to its user: by its file, or by its split and row."""
        key = self.encoded.key(row)
        return f"{self.stored}[{row}]" if key == f"{self.stored}/{row}" else key

    def bad(self, row: int, kind: str, reason: object) -> BadRow:
        """The row as a bad one. reason: what comes after "this record"."""
        place = self.place(row)
        named = "" if place == f"{self.stored}[{row}]" else f"{place} "
        return BadRow(self.stored, row, kind, f"{named}{reason}")


@dataclass(frozen=True, eq=False)
class CleanImages:
    """The good records of a split, still encoded. It can be pickled, and shared by threads."""

    source: EncodedImages
    rows: Int[np.ndarray, " example"]
    """Of `source`, ascending."""
    labels: Int[np.ndarray, " example"] | None
    shape: tuple[int, int, int] | None
    """Height, width, channels; None where sizes vary."""
    channels: int
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Sequence[int]) -> list[tuple[bytes, int]]:
        """The encoded image and the label (-1: there are none) of each good record.

        Raises:
          BadRecord: one of them cannot be read any more.
        """
        return self.source.read(self.rows[np.asarray(indices, np.int64)].tolist())

    def decode(self, encoded: bytes) -> Shaped[np.ndarray, "height width channels"]:
        """The pixels of what `read` gave."""
        return decode_image(encoded, self.channels, self.dtype)
