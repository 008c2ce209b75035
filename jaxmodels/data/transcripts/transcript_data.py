"""Sounds with texts that are ready to learn from, and other sounds as their samples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int

from jaxmodels.data.absent import NAMED, Absent, kept_identity
from jaxmodels.data.audio.checking import sound_of
from jaxmodels.data.audio.reading import Samples, resampled
from jaxmodels.data.audio.sound_data import samples_at
from jaxmodels.data.audio.stored_sounds import StoredSounds
from jaxmodels.data.dataset import TRAIN, BadRecord, Columns, ColumnSpec, Draw, Record
from jaxmodels.data.transcripts.checking import text_of
from jaxmodels.data.transcripts.labels import Labels, in_form
from jaxmodels.errors import InputError
from jaxmodels.protocol import Metadata

_KEPT = ("declared", "rate", "samples", "room", "form")  # in the metadata


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
class TranscriptData(StoredSounds):
    """Sounds with texts.

    A split has the columns "sound", int16 [example, samples], filled up with zeros, "length",
    "tokens", int32 [example, room], filled up with zeros, and "text_length", int32.
    """

    stored_texts: Mapping[str, list[str]]  # of the good sounds as they are stored, in the form
    room: int  # tokens of a row
    form: str
    coder: Coder

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
    def decoded_as(self) -> str:
        """What tells these columns from others of the same sounds."""
        return f"{self.rate}-{self.samples}-{self.room}-{self.coder.fingerprint}-{self.form}"

    def texts(self, split: str) -> list[str]:
        """Returns the texts of a split, in the form that is learned."""
        return [self.stored_texts[p.stored][row] for p in self.pieces[split] for row in p.rows]

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_transcripts` needs, as JSON values: tokens, where they are labels of
        the training texts, with these texts, of which a search may ask n-grams."""
        values = {name: getattr(self, name) for name in _KEPT}
        if isinstance(self.coder, Labels):
            values["labels"] = {"unit": self.coder.unit, "known": list(self.coder.known)}
            values["texts"] = self.texts(TRAIN)
        return values

    def _own_facts(self) -> dict[str, Any]:
        tokens = {
            "name": self.coder.name,
            "size": self.coder.size,
            "fingerprint": self.coder.fingerprint,
            "form": self.form,
        }
        return {"tokens": tokens}

    def summary(self) -> str:
        """Says in a few lines what is learned from."""
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        seconds = self.samples / self.rate
        lines = [
            f"sounds with texts: {sizes}",
            f"samples: {self.samples:,} at {self.rate:,} Hz, {seconds:.3g} s a row",
            f"tokens: {self.coder.name}, {self.coder.size:,} of them; {self.room} a row",
        ]
        return "\n".join([*lines, *self._told("repeated", "clipped", "unknown")])


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentTranscripts(Absent, TranscriptData):
    """Sounds with texts, without the sounds."""

    def texts(self, split: str) -> list[str]:
        """Returns the training texts.

        Raises:
          InputError: an older run, which has not kept them.
        """
        if "texts" not in self.kept.values:
            raise InputError(
                "the run has not kept its training texts, of which n-grams are made: expected"
                " --grammar 0, or --data with what it was trained on"
            )
        return list(self.kept.values["texts"])

    def metadata(self) -> dict[str, Any]:
        """Returns what the run has kept."""
        return dict(self.kept.values)


def absent_transcripts(kept: Metadata, coder: Coder | None = None) -> AbsentTranscripts:
    """Makes sounds with texts, without the sounds, of what a run has kept of them.

    coder: of the tokens, where they are no labels of the training texts.
    """
    labels = kept.values.get("labels", {})
    return AbsentTranscripts(
        **kept_identity(kept, *NAMED),
        **{name: kept.values[name] for name in _KEPT},
        coder=coder or Labels(labels["unit"], tuple(labels["known"])),
        stored_texts={},
        checked={},
        pieces={},
        folder=Path(),
    )


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
    for name, heard in samples_at(given, data.rate):
        if isinstance(heard, BadRecord):
            yield name, heard
        elif len(heard) > decoder.samples:
            why = (
                f"lasts {len(heard) / data.rate:.1f} s; expected at most"
                f" {decoder.samples / data.rate:.1f}, for which the model has places"
            )
            yield name, BadRecord(why, "overlong")
        else:
            yield name, decoder.heard(heard)
