"""Sounds that are ready to learn from, and other sounds as their samples."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxmodels.data.absent import NAMED, Absent, kept_identity
from jaxmodels.data.audio.checking import sound_of
from jaxmodels.data.audio.folder import read_sound, sound_paths
from jaxmodels.data.audio.reading import EXTENSIONS, Samples, resampled
from jaxmodels.data.audio.stored_sounds import StoredSounds
from jaxmodels.data.dataset import TRAIN, BadRecord, Columns, ColumnSpec, Draw, Record
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError
from jaxmodels.protocol import Metadata


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
class SoundData(StoredSounds):
    """Sounds with labels.

    A split has the columns "sound", int16 [example, samples], in the middle between zeros (or at
    the beginning, unless `centred`), "length" and "label", int32.
    """

    class_names: tuple[str, ...]
    centred: bool = True
    speaker: str = ""  # the one that is left out

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
    def decoded_as(self) -> str:
        """What tells these columns from others of the same sounds."""
        return f"{self.rate}-{self.samples}" + "-start" * (not self.centred)

    def known(self, split: str, name: str) -> np.ndarray:
        """Returns what the checks know of each sound of a split, without decoding."""
        pieces = self.pieces[split]
        return np.concatenate([self.checked[p.stored].known[name][p.rows] for p in pieces])

    def labels(self, split: str) -> Int[np.ndarray, " example"]:
        """Returns the labels of a split."""
        return self.known(split, "label")

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_sounds` needs, as JSON values."""
        return {
            "class_names": list(self.class_names),
            "declared": self.declared,
            "rate": self.rate,
            "samples": self.samples,
            "centred": self.centred,
        }

    def _own_facts(self) -> dict[str, Any]:
        left_out = {"left_out": self.speaker} if self.speaker else {}
        return {"classes": list(self.class_names), **left_out}

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
        return "\n".join([*lines, *self._told("repeated", "clipped", "cut")])


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentSounds(Absent, SoundData):
    """Sounds with labels, without the sounds."""


def absent_sounds(kept: Metadata) -> AbsentSounds:
    """Makes sounds with labels, without the sounds, of what a run has kept of them."""
    values = kept.values
    return AbsentSounds(
        **kept_identity(kept, *NAMED),
        **{name: values[name] for name in ("declared", "rate", "samples", "centred")},
        class_names=tuple(values["class_names"]),
        checked={},
        pieces={},
        folder=Path(),
    )


def read_sounds(
    given: Path | Sequence[Any], data: SoundData, whole: bool = False
) -> Iterator[tuple[str, Columns | BadRecord]]:
    """Yields name and columns of one sound, or of all in a folder and the folders below, sorted by
    path, or of several arrays at the rate of `data`. For a sound that cannot be used, a BadRecord
    takes the place of its columns.

    whole: sounds that are longer than a row cannot be used; otherwise their loudest parts are.

    Raises:
      InputError: no such path, or a folder without sounds.
    """
    for name, heard in samples_at(given, data.rate):
        if isinstance(heard, BadRecord):
            yield name, heard
        elif whole and len(heard) > data.samples:
            lasts, most = len(heard) / data.rate, data.samples / data.rate
            told = f"lasts {lasts:.3g} s; expected at most {most:.3g}, as in training: divide it"
            yield name, BadRecord(told, "overlong")
        else:
            yield name, data.decoder.columns(heard)


def samples_at(given: Path | Sequence[Any], rate: int) -> Iterator[tuple[str, Samples | BadRecord]]:
    """Yields name and samples of the sounds that `sounds_at` finds, at a rate, which is that of
    arrays. For a sound that cannot be used, a BadRecord takes the place of its samples."""
    for name, record in sounds_at(given):
        try:
            content = read_sound(record) if isinstance(record, Path) else np.asarray(record)
            sound = sound_of({"sound": content}, rate)
            if not len(sound.samples):
                raise BadRecord("has no sample", "empty")
            yield name, resampled(sound, rate).samples
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
