"""Data sets as they are stored: named splits of records, whose values are known by name only."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int

from jaxmodels.errors import InputError, RunError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
ALL = "all"  # all examples of data without a split to evaluate on

Record = Mapping[str, Any]  # by column: bytes, an array or a number
Columns = Mapping[str, np.ndarray]  # each leads with the example axis
ColumnSpec = Mapping[str, jax.ShapeDtypeStruct]  # shape and type of one example


@runtime_checkable
class Records(Protocol):
    """One split as it is stored. Threads may share it. Its pickle is small and opens the files
    anew."""

    def __len__(self) -> int: ...

    def key(self, row: int) -> str:
        """Returns the name of a record, which is unique and never changes."""
        ...

    def read(self, rows: Sequence[int]) -> Sequence[Record]:
        """Reads these records.

        Raises:
          BadRecord: one of them cannot be read.
        """
        ...


class Dataset(NamedTuple):
    """A data set as it is stored. It has the split "train", and may have "validation", "test" and
    others that are evaluated."""

    name: str
    version: str
    fingerprint: str  # changes when the content does
    splits: Mapping[str, Records]
    names: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # by column, of its classes
    facts: Mapping[str, Any] = MappingProxyType({})  # by column, what is declared of it
    older_fingerprint: str = ""  # the one in runs from before content was hashed


class DataFacts(dict):
    """What identifies data, for the record of a run: a dict with a "fingerprint".

    older: the same facts with the fingerprint from before content was hashed, as older runs
      recorded it; None: there was no other.
    """

    def __init__(self, facts: Mapping[str, Any], older_fingerprint: str = ""):
        super().__init__(facts)
        older = {**facts, "fingerprint": older_fingerprint}
        self.older = older if older_fingerprint else None


class Draw(NamedTuple):
    """The root of random choices for an example: the seed of the run, and the position of the
    example among all examples of all steps."""

    seed: int
    position: int


# Makes the columns of a record, as a `ColumnSpec` says. Without a Draw, as in evaluation, nothing
# is random. It must be picklable, so that other processes can decode.
Decode = Callable[[Record, Draw | None], Mapping[str, Any]]


class ArrayRecords:
    """Records that are the rows of arrays in memory.

    keys: names of the rows; None: their numbers.

    Raises:
      InputError: no column, no row, or columns of different lengths.
    """

    def __init__(self, columns: Columns, keys: Sequence[str] | None = None):
        self._size = common_length(columns)
        self._columns, self._keys = dict(columns), keys

    def __len__(self) -> int:
        return self._size

    def key(self, row: int) -> str:
        """Returns the name of a row."""
        return self._keys[row] if self._keys else str(row)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Returns the values of these rows."""
        columns = self._columns.items()
        return [{name: column[row] for name, column in columns} for row in rows]


class Selection:
    """A selection of other records, in the order of `rows`.

    known: columns of the selected records that are in memory, such as labels.
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
        """Returns the name of a selected record."""
        return self.records.key(int(self.rows[row]))

    def read(self, rows: Sequence[int]) -> Sequence[Record]:
        """Reads records by their places in the selection."""
        return self.records.read(self.rows[np.asarray(rows, np.int64)].tolist())


class BadRecord(RunError):
    """A record that cannot be used. The message is the reason; `kind` a word to count it by."""

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


def found_facts(cleaning: Mapping[str, Any] | None, skipped: Sequence[BadRow]) -> dict[str, Any]:
    """Returns what the checks of data found, for `DataFacts`; empty where all records are good."""
    facts: dict[str, Any] = {"cleaning": dict(cleaning)} if cleaning else {}
    if skipped:
        records = [str(row) for row in skipped]
        facts["skipped"] = {"count": len(records), "records": records}
    return facts


def told_of(kind: str, cleaning: Mapping[str, Any]) -> list[str]:
    """Says how many records of a kind were found in each split, and names one."""
    return [
        f"{kind} in {split}: {found['count']:,}, as {found['records'][0]}"
        for split, found in cleaning.get(kind, {}).items()
    ]


class Part(NamedTuple):
    """The records of a split: all of a stored split, or some."""

    stored: str  # name of the stored split
    records: Records  # of the stored split
    rows: Int[np.ndarray, " record"]  # in the stored split

    def place(self, row: int) -> str:
        """Names a record for the user: by its key, or by SPLIT[ROW] where the key says no more."""
        key = self.records.key(row)
        return f"{self.stored}[{row}]" if key in (str(row), f"{self.stored}/{row}") else key

    def bad(self, row: int, kind: str, reason: object) -> BadRow:
        """Makes a BadRow. reason: continues a sentence that begins with "this record"."""
        place = self.place(row)
        named = "" if place == f"{self.stored}[{row}]" else f"{place} "
        return BadRow(self.stored, row, kind, f"{named}{reason}")


def evaluation_splits(splits: Iterable[str]) -> list[str]:
    """Returns all splits but the training split: validation, test, then others as they come."""
    others = [split for split in splits if split != TRAIN]
    return sorted(others, key=lambda split: SPLITS.index(split) if split in SPLITS else len(SPLITS))


def splits_elsewhere(splits: Iterable[str]) -> dict[str, str]:
    """Returns the splits of other data that a run is scored on, by the names of their scores: those
    of evaluation, or the training split as "all" where there is no other."""
    return {split: split for split in splits if split != TRAIN} or {ALL: TRAIN}


def parts_of(dataset: Dataset) -> dict[str, Part]:
    """Returns all records of each split, of the training split first."""
    return {
        split: Part(split, records, np.arange(len(records), dtype=np.int32))
        for split in [TRAIN, *evaluation_splits(dataset.splits)]
        for records in [dataset.splits[split]]
    }


def common_length(columns: Columns) -> int:
    """Returns the length that all columns have.

    Raises:
      InputError: no column, no example, or columns of different lengths.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        raise InputError(f"columns of lengths {lengths}; expected one length of at least 1")
    return next(iter(lengths.values()))


def put_decoded(columns: Columns, row: int, decoded: Mapping[str, Any]) -> None:
    """Writes a decoded record into a row of columns.

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
