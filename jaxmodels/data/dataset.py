"""Data sets as they are stored: named splits of records, whose values have names and no meaning."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int

from jaxmodels.errors import InputError, RunError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")

Record = Mapping[str, Any]  # by column: bytes, an array or a number
Columns = Mapping[str, np.ndarray]  # each leads with the example axis
ColumnSpec = Mapping[str, jax.ShapeDtypeStruct]  # shape and type of one example


@runtime_checkable
class Records(Protocol):
    """One split as it is stored. Threads may share it; pickled, it is small and opens its files
    anew."""

    def __len__(self) -> int: ...

    def key(self, row: int) -> str:
        """The name of a record, which is its own as long as it exists."""
        ...

    def read(self, rows: Sequence[int]) -> Sequence[Record]:
        """The values of these records.

        Raises:
          BadRecord: one of them cannot be read.
        """
        ...


class Dataset(NamedTuple):
    """A data set as it is stored. Its splits are "train" and, as far as there are, "validation",
    "test" and others that are evaluated."""

    name: str
    version: str
    fingerprint: str  # of the content: other data have another one
    splits: Mapping[str, Records]
    names: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # of the classes of a column
    facts: Mapping[str, Any] = MappingProxyType({})  # what is declared of a column
    older_fingerprint: str = ""  # by which runs know it that began before content was hashed


class DataFacts(dict):
    """What identifies data, for the record of a run: a dict with a "fingerprint".

    older: the same with the fingerprint of before content was hashed, which records of that time
      have; None: there was no other.
    """

    def __init__(self, facts: Mapping[str, Any], older_fingerprint: str = ""):
        super().__init__(facts)
        older = {**facts, "fingerprint": older_fingerprint}
        self.older = older if older_fingerprint else None


class Draw(NamedTuple):
    """What a random choice for an example depends on: the seed of the run, and the position of the
    example among all examples of all steps."""

    seed: int
    position: int


# From a record to its columns, as `ColumnSpec` says; without a Draw (in a pass in order) nothing is
# random. It can be pickled, so that other processes decode.
Decode = Callable[[Record, Draw | None], Mapping[str, Any]]


class ArrayRecords:
    """Records that are the rows of arrays in memory.

    keys: their names; None: their numbers.

    Raises:
      InputError: no column, no row, or columns of different lengths.
    """

    def __init__(self, columns: Columns, keys: Sequence[str] | None = None):
        self._size = common_length(columns)
        self._columns, self._keys = dict(columns), keys

    def __len__(self) -> int:
        return self._size

    def key(self, row: int) -> str:
        """The name of a row."""
        return self._keys[row] if self._keys else str(row)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """The values of these rows."""
        columns = self._columns.items()
        return [{name: column[row] for name, column in columns} for row in rows]


class Selection:
    """Some of other records, in the order of `rows`.

    known: columns of the selected records that need not be read, say their labels.
    """

    def __init__(
        self,
        records: Records,
        rows: Int[np.ndarray, " record"],
        known: Columns = MappingProxyType({}),
    ):
        self.records, self.rows, self.known = records, rows, dict(known)

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, row: int) -> str:
        """The name of a selected record."""
        return self.records.key(int(self.rows[row]))

    def read(self, rows: Sequence[int]) -> Sequence[Record]:
        """As `Records.read`, by the place in the selection."""
        return self.records.read(self.rows[np.asarray(rows, np.int64)].tolist())


class BadRecord(RunError):
    """A record that cannot be used. The message is the reason; `kind` is one word for a count."""

    def __init__(self, reason: str, kind: str = "undecodable"):
        super().__init__(reason)
        self.kind = kind


class BadRow(NamedTuple):
    """A record that is left out: its row in the split as it is stored, and why."""

    split: str
    row: int
    kind: str  # one word, by which bad records are counted
    reason: str

    def __str__(self) -> str:
        return f"{self.split}[{self.row}]: {self.reason}"


class Part(NamedTuple):
    """The records that make a split: all of a stored one, or some."""

    stored: str  # name of the stored split
    records: Records
    rows: Int[np.ndarray, " record"]

    def place(self, row: int) -> str:
        """The name of a record for its user: its key if that says where it is, else its split and
        row."""
        key = self.records.key(row)
        return f"{self.stored}[{row}]" if key in (str(row), f"{self.stored}/{row}") else key

    def bad(self, row: int, kind: str, reason: object) -> BadRow:
        """The row as a bad one. reason: what comes after "this record"."""
        place = self.place(row)
        named = "" if place == f"{self.stored}[{row}]" else f"{place} "
        return BadRow(self.stored, row, kind, f"{named}{reason}")


def evaluation_splits(splits: Iterable[str]) -> list[str]:
    """All splits but the training split: validation, test, then others as they come."""
    others = [split for split in splits if split != TRAIN]
    return sorted(others, key=lambda split: SPLITS.index(split) if split in SPLITS else len(SPLITS))


def common_length(columns: Columns) -> int:
    """The length that all columns have.

    Raises:
      InputError: no column, no example, or columns of different lengths.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        raise InputError(f"columns of lengths {lengths}; expected one length of at least 1")
    return next(iter(lengths.values()))


def put_decoded(columns: Columns, row: int, decoded: Mapping[str, Any]) -> None:
    """Writes what was decoded of a record into a row of columns.

    Raises:
      InputError: a value of another shape than the column's, which numpy might repeat to fit.
    """
    for name, column in columns.items():
        value = decoded[name]
        if getattr(value, "shape", ()) != column.shape[1:]:
            raise InputError(
                f"column '{name}' is decoded to shape {np.shape(value)}; expected"
                f" {column.shape[1:]}, as its spec says"
            )
        column[row] = value
