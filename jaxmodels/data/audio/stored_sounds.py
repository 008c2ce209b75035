"""What sounds with labels and sounds with texts share: splits of stored sounds, decoded once or
streamed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.audio.dividing import Joined, Pieces
from jaxmodels.data.dataset import (
    BadRow,
    Columns,
    ColumnSpec,
    DataFacts,
    Selection,
    found_facts,
    told_of,
)
from jaxmodels.data.resident import Resident, decode_once
from jaxmodels.data.streamed import Streamed


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredSounds(ABC):
    """Sounds of a training split and of others ("validation", "test", ...) that are evaluated."""

    name: str
    version: str
    fingerprint: str  # of the content
    checked: Mapping[str, Selection]  # the good sounds of the splits as they are stored
    pieces: Pieces
    declared: int  # rate of stored samples that are not encoded
    rate: int
    samples: int
    folder: Path  # where decoded sounds are kept
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[BadRow, ...] = ()

    @property
    @abstractmethod
    def decoder(self) -> Any:
        """Makes the columns of a record."""

    @property
    @abstractmethod
    def spec(self) -> ColumnSpec:
        """The shapes and types of one example."""

    @property
    @abstractmethod
    def decoded_as(self) -> str:
        """What tells these columns from others of the same sounds."""

    @property
    def sizes(self) -> dict[str, int]:
        """The number of sounds of each split."""
        return {split: sum(len(p.rows) for p in some) for split, some in self.pieces.items()}

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded sounds of all splits."""
        return sum(self.sizes.values()) * self.samples * 2

    @cached_property
    def _decoded(self) -> dict[str, Columns]:
        """The columns of the stored splits that are used, which are decoded once and kept."""
        found = {}
        for stored in {piece.stored for pieces in self.pieces.values() for piece in pieces}:
            folder = self.folder / f"{stored}-{self.decoded_as}"
            arguments = self.checked[stored], self.decoder, self.spec, folder
            found[stored] = decode_once(f"{self.name}/{stored}", *arguments)
        return found

    def columns(self, split: str) -> Columns:
        """Returns the columns of a split."""
        pieces = self.pieces[split]
        parts = [self._decoded[piece.stored] for piece in pieces]
        if len(pieces) == 1 and len(pieces[0].rows) == len(parts[0]["length"]):
            return parts[0]
        return {
            name: np.concatenate([part[name][piece.rows] for part, piece in zip(parts, pieces)])
            for name in self.spec
        }

    def records(self, split: str) -> Joined:
        """Returns the records of a split."""
        return Joined(self.checked, self.pieces[split])

    def source(self, split: str, streamed: bool = False, workers: int = 0) -> Resident | Streamed:
        """Makes the source of batches of a split: on the device, or streamed to it."""
        records = self.records(split)
        if streamed:
            return Streamed(records, self.decoder, self.spec, workers)
        return Resident(self.columns(split), records.key)

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": self.sizes,
            "rate": self.rate,
            "samples": self.samples,
            **self._own_facts(),
        }
        facts |= found_facts(self.cleaning, self.skipped)
        return DataFacts(facts)

    @abstractmethod
    def _own_facts(self) -> dict[str, Any]:
        """Returns what a kind of data adds to the facts."""

    def _told(self, *kinds: str) -> list[str]:
        """Says how many sounds of a kind were found in each split, and names one."""
        return [line for kind in kinds for line in told_of(kind, self.cleaning)]
