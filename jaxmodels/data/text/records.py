"""Records of text as streams of pieces, so that no text has to fit into memory."""

import codecs
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int

from jaxmodels.data.dataset import ArrayRecords, BadRecord, Record, Records
from jaxmodels.data.threads import ahead, read_each
from jaxmodels.data.walking import open_regular

PIECE = 1 << 20  # bytes of text that are worked on at once
_RECORDS = 256  # read at once, because a call to ArrayRecord costs far more than a record


class Piece(NamedTuple):
    """A part of a record. A record may have several pieces, the last of which says so."""

    row: int
    text: bytes | BadRecord
    last: bool = True


class TextRecords(Records, Protocol):
    """`Records` with the column "text" (bytes), which can be read as a stream."""

    def pieces(self) -> Iterator[Piece]:
        """Yields the text of all records in order."""
        ...


class StoredTexts:
    """`TextRecords` of records that are read whole.

    order: the rows in the order of the text, where they are stored in another one.
    """

    def __init__(self, records: Records, order: Int[np.ndarray, " record"] | None = None):
        self._records, self._order = records, order

    def __len__(self) -> int:
        return len(self._records)

    def key(self, row: int) -> str:
        """Returns the name of a record."""
        return self._records.key(row)

    def read(self, rows: Sequence[int]) -> Sequence[Record]:
        """Reads these records."""
        return self._records.read(rows)

    def pieces(self) -> Iterator[Piece]:
        """Yields each record as one piece."""
        order = np.arange(len(self)) if self._order is None else self._order
        starts = range(0, len(order), _RECORDS)
        batches = (order[start : start + _RECORDS].tolist() for start in starts)
        for rows, records in ahead(lambda rows: (rows, read_each(self, rows)), batches):
            for row, record in zip(rows, records):
                yield Piece(row, record if isinstance(record, BadRecord) else record["text"])


def texts_in_memory(texts: Sequence[bytes], keys: Sequence[str] | None = None) -> StoredTexts:
    """Makes records of texts in memory.

    keys: their names; None: their numbers.
    """
    column = np.empty(len(texts), object)
    column[:] = texts
    return StoredTexts(ArrayRecords({"text": column}, keys))


class TextFiles:
    """`TextRecords` that are files, by their paths below a folder."""

    def __init__(self, folder: Path, paths: Sequence[str]):
        self._folder, self._paths = folder, paths

    def __len__(self) -> int:
        return len(self._paths)

    def key(self, row: int) -> str:
        """Returns the path below the folder, with slashes."""
        return self._paths[row]

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads these files whole.

        Raises:
          BadRecord: one of them cannot be read.
        """
        records = []
        for row in rows:
            try:
                with open_regular(self._folder / self._paths[row]) as file:
                    records.append({"text": file.read().removeprefix(codecs.BOM_UTF8)})
            except OSError as error:
                raise _unreadable(error) from None
        return records

    def pieces(self) -> Iterator[Piece]:
        """Yields each file in pieces, of which one is in memory at a time."""
        for row, path in enumerate(self._paths):
            try:
                with open_regular(self._folder / path) as file:
                    # The mark of UTF-8 is no part of the text.
                    text = file.read(PIECE).removeprefix(codecs.BOM_UTF8)
                    while text:
                        yield Piece(row, text, last=False)
                        text = file.read(PIECE)
                yield Piece(row, b"")
            except OSError as error:
                yield Piece(row, _unreadable(error))


def _unreadable(error: OSError) -> BadRecord:
    return BadRecord(f"cannot be read: {error.strerror}", "unreadable")
