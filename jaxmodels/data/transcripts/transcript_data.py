"""Sounds with texts that are ready to learn from, and other sounds as their samples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int

from jaxmodels.data.audio.checking import sound_of
from jaxmodels.data.audio.dividing import Joined, Pieces
from jaxmodels.data.audio.folder import read_sound
from jaxmodels.data.audio.reading import Samples, resampled
from jaxmodels.data.audio.sound_data import sounds_at
from jaxmodels.data.dataset import (
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
from jaxmodels.data.transcripts.checking import text_of
from jaxmodels.data.transcripts.labels import in_form


@runtime_checkable
class Coder(Protocol):
    """What makes tokens of a text. It must be picklable."""

    @property
    def name(self) -> str:
        """The kind of tokens, for the record of a run."""
        ...

    @property
    def size(self) -> int:
        """How many tokens there are."""
        ...

    @property
    def fingerprint(self) -> str:
        """What changes when the tokens of a text do."""
        ...

    def encode(self, text: str) -> Int[np.ndarray, " token"]:
        """Returns the tokens of a text, with those that stand around it."""
        ...

    def decode(self, tokens: Any) -> str:
        """Returns the text of tokens."""
        ...


class RecordingDecoder(NamedTuple):
    """Makes the columns of a record: "sound", int16 [samples], its "length", "tokens", int32
    [room], and their "text_length".

    declared: rate of samples that are not encoded. rate: of the column. form: of texts.
    """

    declared: int
    rate: int
    samples: int
    room: int
    form: str
    coder: Coder

    def __call__(self, record: Record, draw: Draw | None) -> dict[str, Any]:
        sound = resampled(sound_of(record, self.declared), self.rate).samples
        tokens = self.coder.encode(in_form(text_of(record), self.form))[: self.room]
        row = np.zeros(self.room, np.int32)
        row[: len(tokens)] = tokens
        return {**self.heard(sound), "tokens": row, "text_length": np.int32(len(tokens))}

    def heard(self, sound: Samples) -> dict[str, Any]:
        """Fills a sound up with zeros."""
        row = np.zeros(self.samples, np.int16)
        row[: len(sound)] = sound[: self.samples]
        return {"sound": row, "length": np.int32(min(len(sound), self.samples))}


@dataclass(frozen=True, kw_only=True, eq=False)
class TranscriptData:
    """Sounds with texts, of a training split and of others that are evaluated.

    A split has the columns "sound", int16 [example, samples], filled up with zeros, "length",
    "tokens", int32 [example, room], filled up with zeros, and "text_length", int32.
    """

    name: str
    version: str
    fingerprint: str  # of the content
    checked: Mapping[str, Selection]  # the good sounds of the splits as they are stored
    stored_texts: Mapping[str, list[str]]  # theirs, in the form
    pieces: Pieces
    declared: int  # rate of stored samples that are not encoded
    rate: int
    samples: int
    room: int  # tokens of a row
    form: str
    coder: Coder
    folder: Path  # where decoded sounds are kept
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[BadRow, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of sounds of each split."""
        return {split: sum(len(p.rows) for p in some) for split, some in self.pieces.items()}

    @property
    def decoder(self) -> RecordingDecoder:
        """Makes the columns of a record."""
        sizes = self.declared, self.rate, self.samples, self.room
        return RecordingDecoder(*sizes, self.form, self.coder)

    @property
    def spec(self) -> ColumnSpec:
        """The shapes and types of one example."""
        number = jax.ShapeDtypeStruct((), np.int32)
        return {
            "sound": jax.ShapeDtypeStruct((self.samples,), np.int16),
            "length": number,
            "tokens": jax.ShapeDtypeStruct((self.room,), np.int32),
            "text_length": number,
        }

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded sounds of all splits."""
        return sum(self.sizes.values()) * self.samples * 2

    def texts(self, split: str) -> list[str]:
        """Returns the texts of a split, in the form that is learned."""
        return [self.stored_texts[p.stored][row] for p in self.pieces[split] for row in p.rows]

    def records(self, split: str) -> Joined:
        """Returns the records of a split."""
        return Joined(self.checked, self.pieces[split])

    @cached_property
    def _decoded(self) -> dict[str, Columns]:
        """The columns of the stored splits, which are decoded once and kept."""
        found, kind = {}, f"{self.rate}-{self.samples}-{self.room}-{self.coder.fingerprint}"
        for stored in {piece.stored for pieces in self.pieces.values() for piece in pieces}:
            folder = self.folder / f"{stored}-{kind}-{self.form}"
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
            "tokens": {
                "name": self.coder.name,
                "size": self.coder.size,
                "fingerprint": self.coder.fingerprint,
                "form": self.form,
            },
        }
        if self.cleaning:
            facts["cleaning"] = dict(self.cleaning)
        if self.skipped:
            records = [str(row) for row in self.skipped]
            facts["skipped"] = {"count": len(records), "records": records}
        return DataFacts(facts)

    def summary(self) -> str:
        """Says in a few lines what is learned from."""
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        seconds = self.samples / self.rate
        lines = [
            f"sounds with texts: {sizes}",
            f"samples: {self.samples:,} at {self.rate:,} Hz, {seconds:.3g} s a row",
            f"tokens: {self.coder.name}, {self.coder.size:,} of them; {self.room} a row",
        ]
        for what in ("repeated", "clipped", "unknown"):
            for split, found in self.cleaning.get(what, {}).items():
                lines.append(f"{what} in {split}: {found['count']:,}, as {found['records'][0]}")
        return "\n".join(lines)


def read_recordings(
    given: Path | Sequence[Any], data: TranscriptData, samples: int = 0
) -> Iterator[tuple[str, Columns | BadRecord]]:
    """Yields name and columns ("sound" and "length") of one sound, or of all in a folder and the
    folders below, sorted by path, or of several arrays at the rate of `data`. For a sound that
    cannot be used, a BadRecord takes the place of its columns.

    samples: of a row; 0: as many as those of `data` have. Longer sounds cannot be used.

    Raises:
      InputError: no such path, or a folder without sounds.
    """
    decoder = data.decoder._replace(samples=samples or data.samples)
    for name, record in sounds_at(given):
        try:
            content = read_sound(record) if isinstance(record, Path) else np.asarray(record)
            sound = sound_of({"sound": content}, data.rate)
            if not len(sound.samples):
                raise BadRecord("has no sample", "empty")
            heard = resampled(sound, data.rate).samples
            if len(heard) > decoder.samples:
                raise BadRecord(
                    f"lasts {len(heard) / data.rate:.1f} s; expected at most"
                    f" {decoder.samples / data.rate:.1f}, for which the model has places",
                    "overlong",
                )
            yield name, decoder.heard(heard)
        except BadRecord as error:
            yield name, error
