"""Sounds that are ready to learn from, and other sounds as their samples."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxmodels.data.audio.checking import sound_of
from jaxmodels.data.audio.dividing import Joined, Pieces
from jaxmodels.data.audio.folder import read_sound, sound_paths
from jaxmodels.data.audio.reading import EXTENSIONS, Samples, Sound, resampled
from jaxmodels.data.dataset import (
    TRAIN,
    BadRecord,
    BadRow,
    Columns,
    ColumnSpec,
    DataFacts,
    Draw,
    Record,
    Selection,
)
from jaxmodels.data.resident import Resident, decode_once
from jaxmodels.data.streamed import Streamed
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError


class SoundDecoder(NamedTuple):
    """Makes the columns of a record: "sound", int16 [samples], its "length" and "label".

    declared: rate of samples that are not encoded. rate: of the column. centred: whether a shorter
    sound lies in the middle of its row; otherwise it lies at the beginning.
    """

    declared: int
    rate: int
    samples: int
    centred: bool = True

    def __call__(self, record: Record, draw: Draw | None) -> dict[str, Any]:
        sound = resampled(sound_of(record, self.declared), self.rate).samples
        return {**self.columns(sound), "label": np.int32(record["label"])}

    def columns(self, sound: Samples) -> dict[str, Any]:
        """Cuts the loudest part out of a longer sound, and puts a shorter one between zeros."""
        sound = loudest(sound, self.samples)
        row = np.zeros(self.samples, np.int16)
        start = (self.samples - len(sound)) // 2 if self.centred else 0
        row[start : start + len(sound)] = sound
        return {"sound": row, "length": np.int32(len(sound))}


def loudest(sound: Samples, samples: int) -> Samples:
    """Cuts the part of so many samples that has the most energy; the first of equal ones."""
    if len(sound) <= samples:
        return sound
    total = np.concatenate([[0], np.cumsum(sound.astype(np.int64) ** 2)])
    start = int(np.argmax(total[samples:] - total[:-samples]))
    return sound[start : start + samples]


@dataclass(frozen=True, kw_only=True, eq=False)
class SoundData:
    """Sounds of a training split and of others ("validation", "test", ...) that are evaluated.

    A split has the columns "sound", int16 [example, samples], in the middle between zeros (or at
    the beginning, unless `centred`), "length" and "label", int32.
    """

    name: str
    version: str
    fingerprint: str  # of the content
    class_names: tuple[str, ...]
    checked: Mapping[str, Selection]  # the good sounds of the splits as they are stored
    pieces: Pieces
    declared: int  # rate of stored samples that are not encoded
    rate: int
    samples: int
    folder: Path  # where decoded sounds are kept
    centred: bool = True
    speaker: str = ""  # the one that is left out
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[BadRow, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of sounds of each split."""
        return {split: sum(len(p.rows) for p in some) for split, some in self.pieces.items()}

    @property
    def decoder(self) -> SoundDecoder:
        """Makes the columns of a record."""
        return SoundDecoder(self.declared, self.rate, self.samples, self.centred)

    @property
    def spec(self) -> ColumnSpec:
        """The shapes and types of one example."""
        number = jax.ShapeDtypeStruct((), np.int32)
        sound = jax.ShapeDtypeStruct((self.samples,), np.int16)
        return {"sound": sound, "length": number, "label": number}

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded sounds of all splits."""
        return sum(self.sizes.values()) * self.samples * 2

    def known(self, split: str, name: str) -> np.ndarray:
        """Returns what the checks know of each sound of a split, without decoding."""
        pieces = self.pieces[split]
        return np.concatenate([self.checked[p.stored].known[name][p.rows] for p in pieces])

    def labels(self, split: str) -> Int[np.ndarray, " example"]:
        """Returns the labels of a split."""
        return self.known(split, "label")

    @cached_property
    def _decoded(self) -> dict[str, Columns]:
        """The columns of the stored splits, which are decoded once and kept."""
        needed = {piece.stored for pieces in self.pieces.values() for piece in pieces}
        found = {}
        for stored, records in self.checked.items():
            if stored in needed:
                name = f"{stored}-{self.rate}-{self.samples}" + "-start" * (not self.centred)
                folder = self.folder / name
                arguments = records, self.decoder, self.spec, folder
                found[stored] = decode_once(f"{self.name}/{stored}", *arguments)
        return found

    def columns(self, split: str) -> Columns:
        """Returns the columns of a split."""
        pieces = self.pieces[split]
        parts = [self._decoded[piece.stored] for piece in pieces]
        if len(pieces) == 1 and len(pieces[0].rows) == len(parts[0]["label"]):
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
            "classes": list(self.class_names),
            "rate": self.rate,
            "samples": self.samples,
        }
        if self.speaker:
            facts["left_out"] = self.speaker
        if self.cleaning:
            facts["cleaning"] = dict(self.cleaning)
        if self.skipped:
            records = [str(row) for row in self.skipped]
            facts["skipped"] = {"count": len(records), "records": records}
        return DataFacts(facts)

    def summary(self) -> str:
        """Says in a few lines what is learned from."""
        counts = np.bincount(self.labels(TRAIN), minlength=len(self.class_names)).tolist()
        few = len(counts) <= 10
        balance = ", ".join(f"{name} {n:,}" for name, n in zip(self.class_names, counts))
        balance = balance if few else f"{len(counts)} classes of {min(counts):,} to {max(counts):,}"
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        seconds = self.samples / self.rate
        lines = [
            f"sounds: {sizes}; of the training split {balance}",
            f"samples: {self.samples:,} at {self.rate:,} Hz, {seconds:.3g} s a row",
        ]
        if self.speaker:
            lines.append(f"speaker left out, to test with: {self.speaker}")
        for what in ("repeated", "clipped", "cut"):
            for split, found in self.cleaning.get(what, {}).items():
                lines.append(f"{what} in {split}: {found['count']:,}, as {found['records'][0]}")
        return "\n".join(lines)


def read_sounds(
    given: Path | Sequence[Any], data: SoundData
) -> Iterator[tuple[str, Columns | BadRecord]]:
    """Yields name and columns of one sound, or of all in a folder and the folders below, sorted by
    path, or of several arrays at the rate of `data`. For a sound that cannot be used, a BadRecord
    takes the place of its columns.

    Raises:
      InputError: no such path, or a folder without sounds.
    """
    for name, record in sounds_at(given):
        try:
            content = read_sound(record) if isinstance(record, Path) else np.asarray(record)
            sound = sound_of({"sound": content}, data.rate)
            if not len(sound.samples):
                raise BadRecord("has no sample", "empty")
            yield name, data.decoder.columns(resampled(Sound(*sound), data.rate).samples)
        except BadRecord as error:
            yield name, error


def sounds_at(given: Path | Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yields the name and the path of one sound, or of all in a folder and the folders below,
    sorted by path; or the number and the samples of each of several arrays.

    Raises:
      InputError: no such path, or a folder without sounds.
    """
    if not isinstance(given, Path):
        yield from ((str(number), samples) for number, samples in enumerate(given))
        return
    if not os.path.exists(given):
        raise InputError(f"input {given} does not exist; expected a sound or a folder of some")
    if not os.path.isdir(given):
        if not given.name.lower().endswith(EXTENSIONS):
            raise InputError(f"input {given} is no sound; expected {', '.join(EXTENSIONS)}")
        yield given.name, given
        return
    paths = sound_paths(walk(given).files)
    if not paths:
        raise InputError(f"input {given} has no sound; expected {', '.join(EXTENSIONS)}")
    # The order is that of pathlib, which compares paths part by part.
    yield from ((path, given / path) for path in sorted(paths, key=lambda path: path.split("/")))
