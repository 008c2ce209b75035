"""The text of a data set in one file a split, with the place and the hash of each document."""

import codecs
import hashlib
import sys
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt64

from jaxmodels.data.dataset import BadRecord, BadRow, Part
from jaxmodels.data.text.documents import Documents, documents_of, why_undecodable
from jaxmodels.data.text.records import TextRecords


class Gathered(NamedTuple):
    """The documents of a stored split, one behind the other in a file of UTF-8."""

    path: Path
    starts: Int[np.ndarray, " document_and_end"]  # in bytes; the last is the end of the text
    hashes: UInt64[np.ndarray, " document"]  # of the content
    rows: Int[np.ndarray, " document"]  # of the record that a document is in
    blank: int  # documents without a visible character, which are left out


def gather(
    name: str, splits: Mapping[str, TextRecords], documents: Documents, folder: Path
) -> tuple[dict[str, Gathered], list[BadRow]]:
    """Writes the text of all stored splits into a folder; returns it with the documents that are
    left out because they cannot be read or are no UTF-8.

    Memory is that of a piece of text and 24 bytes a document.
    """
    gathered, bad = {}, []
    for split, records in splits.items():
        print(f"reading {len(records):,} records of {name}/{split}, once", file=sys.stderr)
        with _Writer(folder / f"{split}.txt", Part(split, records, np.zeros(0, np.int32))) as text:
            for row, piece, last in documents_of(records, documents):
                text.write(row, piece, last)
        gathered[split] = text.gathered()
        bad += text.bad
    return gathered, bad


class _Writer:
    """A file of documents that are checked while they are written."""

    def __init__(self, path: Path, part: Part):
        self._path, self._part = path, part
        self._starts, self._hashes, self._rows = array("q", [0]), array("Q"), array("q")
        self._blank, self.bad = 0, []
        self._begin()

    def __enter__(self) -> "_Writer":
        self._file = open(self._path, "wb", buffering=1 << 20)
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def _begin(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._digest, self._size = hashlib.blake2b(digest_size=8), 0
        self._visible, self._failed = False, False

    def write(self, row: int, piece: bytes | BadRecord, last: bool) -> None:
        """Adds a piece of a document, unless the document is bad already."""
        if isinstance(piece, BadRecord):
            self.bad.append(self._part.bad(row, piece.kind, piece))
            self._failed = self._failed or last
        elif not self._failed:
            self._add(row, piece, last)
        if last:
            self._end(row)

    def _add(self, row: int, piece: bytes, last: bool) -> None:
        try:
            self._visible = bool(self._decoder.decode(piece, final=last).strip()) or self._visible
        except UnicodeDecodeError as error:
            self.bad.append(self._part.bad(row, "undecodable", why_undecodable(error)))
            self._failed = True
            return
        self._digest.update(piece)
        self._file.write(piece)
        self._size += len(piece)

    def _end(self, row: int) -> None:
        if self._visible and not self._failed:
            self._starts.append(self._starts[-1] + self._size)
            self._hashes.append(int.from_bytes(self._digest.digest(), "little"))
            self._rows.append(row)
        else:
            self._blank += not self._failed
            self._file.seek(self._starts[-1])
            self._file.truncate()
        self._begin()

    def gathered(self) -> Gathered:
        """Returns what was written."""
        numbers = (
            np.frombuffer(column, dtype) if column else np.zeros(0, dtype)
            for column, dtype in (
                (self._starts, np.int64),
                (self._hashes, np.uint64),
                (self._rows, np.int64),
            )
        )
        return Gathered(self._path, *numbers, blank=self._blank)
