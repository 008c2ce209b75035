"""The texts of a split: ranges of a memory-mapped file of UTF-8."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from jaxmodels.data.text.records import PIECE

_LOOKED_BACK = 1 << 16  # bytes before the end of a piece, in which a place to cut is looked for
# A space between two visible characters. Tokenizers that divide text into words first, as those of
# GPT-2 to GPT-4, have no token on both sides of it, so that pieces have the tokens of the whole
# text.
_BETWEEN_WORDS = re.compile(rb"(?<=[^\s]) (?=[^\s])")


class Passage(NamedTuple):
    """A part of a document."""

    document: int
    text: str
    last: bool  # whether the document ends with it


@dataclass(frozen=True)
class Texts:
    """The documents of a split. Its pickle is small and maps the file anew.

    path: the file. ranges: where each document begins and ends in it, in bytes.
    """

    path: Path
    ranges: Int[np.ndarray, "document 2"]

    def __len__(self) -> int:
        return len(self.ranges)

    @cached_property
    def bytes(self) -> UInt8[np.ndarray, " byte"]:
        """The memory-mapped file."""
        return mapped(self.path, np.dtype(np.uint8))

    @property
    def size(self) -> int:
        """The number of bytes of all documents."""
        return int(np.diff(self.ranges).sum())

    def passages(self, most: int = PIECE) -> Iterator[Passage]:
        """Yields all documents, long ones cut between words.

        most: bytes of a passage.
        """
        for document, (start, stop) in enumerate(self.ranges.tolist()):
            while True:
                cut = stop if stop - start <= most else cut_before(self.bytes, start, start + most)
                yield Passage(document, self.bytes[start:cut].tobytes().decode(), cut == stop)
                if cut == stop:
                    break
                start = cut

    def batches(self, most: int = PIECE) -> Iterator[list[Passage]]:
        """Yields passages in lists that together have about `most` bytes. A list has several, so
        that cores can share them."""
        batch, size = [], 0
        for passage in self.passages(most // 8):
            batch.append(passage)
            size += len(passage.text)
            if size >= most:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def __getstate__(self) -> dict:
        return {"path": self.path, "ranges": self.ranges}


def mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    """Maps a file of numbers into memory; an empty file makes an empty array."""
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, "r")


def cut_before(text: UInt8[np.ndarray, " byte"], start: int, most: int) -> int:
    """Returns where to cut a text that begins at `start`, at most at `most`: before the last space
    between two words, or between two characters where there is none."""
    first = max(start, most - _LOOKED_BACK)
    window = text[first : most + 1].tobytes()
    places = [found.start() for found in _BETWEEN_WORDS.finditer(window)]
    if places and first + places[-1] > start:
        return first + places[-1]
    while most > start + 1 and text[most] & 0xC0 == 0x80:
        most -= 1
    return most
