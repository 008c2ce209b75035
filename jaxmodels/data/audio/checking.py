"""Checks of all sounds of a data set: which are good, and what is known of them."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.audio.reading import Sound, as_int16, decode_sound, mono
from jaxmodels.data.checking import (
    Table,
    content_hash,
    duplicates,
    inspect_parts,
    keep_findings,
    load_findings,
    require_class,
)
from jaxmodels.data.dataset import TRAIN, BadRecord, BadRow, Part, Record, Selection
from jaxmodels.errors import InputError

MENDS = {
    "overlong": "--longest SECONDS allows longer ones",
    "undecodable": "ffmpeg -i FILE FILE.flac converts other kinds of files",
    "duplicate": "A sound that is trained on scores too well",
    "contradiction": "One sound cannot be of two classes",
    "silent": "Nothing can be heard in them",
}
# Names of files say the speaker in free-spoken-digit-dataset (7_jackson_32.wav) and Speech Commands
# (0a7c2a8d_nohash_0.wav).
SPEAKERS = r"^\d+_([A-Za-z]+)_\d+\.|^([0-9a-f]{8})_nohash_"
_SHORTEST = 0.02  # seconds
_SILENT = 33  # of 32,768: -60 dB
_CLIPPED = 0.001  # share of samples at the limits of 16 bits from which on a sound is listed
_LISTED = 20  # sounds in the record of a run
FACTS = [("hash", np.uint64), ("samples", np.int64), ("rate", np.int32), ("clipped", bool)]
_OWN_FACTS = [("label", np.int32), ("speaker", "S64")]


class Examined(NamedTuple):
    """The good sounds of each split, with the known columns "hash", "label", "samples" at their own
    "rate", and "speaker" ("": unknown), and what was found of all."""

    splits: Mapping[str, Selection]
    bad: tuple[BadRow, ...]
    cleaning: Mapping[str, Any]  # counts of what was found, for the record of a run


def sound_of(record: Record, rate: int) -> Sound:
    """Decodes the sound of a record; rate: that of samples that are not encoded.

    Raises:
      BadRecord: it cannot be decoded.
    """
    sound = record["sound"]
    if isinstance(sound, bytes):
        return decode_sound(sound)
    samples = np.asarray(sound)
    if samples.ndim == 1:
        samples = samples[:, None]
    if np.issubdtype(samples.dtype, np.integer) and samples.dtype != np.int16:
        if samples.size and np.abs(samples).max() > 32768:
            raise BadRecord(f"has a sample of {np.abs(samples).max():,}; expected 16 bits", "type")
        samples = as_int16(samples.astype(np.float64))
    return Sound(mono(samples), rate)


def examine(
    name: str,
    parts: Mapping[str, Part],
    classes: int,
    rate: int,
    longest: float,
    speakers: str,
    folder: Path,
) -> None:
    """Decodes all sounds, checks them and writes what was found into a folder.

    Bad are sounds that cannot be read or decoded or are cut, that are silent (below -60 dB), last
    less than 20 ms or more than `longest` seconds, or have a label out of range; training sounds
    that an evaluation split has too; and sounds that stand in their split before with another
    label. Sounds that repeat an earlier one of their split, and those of which more than a
    thousandth of the samples is clipped, are counted and listed.

    rate: of samples that are not encoded. speakers: the expression that finds the speaker in the
    name of a file.
    """
    pattern = _compiled(speakers)

    def inspect(record: Record) -> Mapping[str, Any]:
        heard = facts_of_sound(sound_of(record, rate), _SHORTEST, longest)
        require_class(int(record["label"]), classes)
        speaker = speaker_of(record.get("file", b""), pattern)
        return {**heard, "label": int(record["label"]), "speaker": speaker}

    tables, bad = inspect_parts(name, parts, inspect, FACTS + _OWN_FACTS)
    bad += repeated_elsewhere(tables, parts, "label", "label")
    keep_findings(
        folder,
        parts,
        tables,
        bad,
        counted(tables, parts),
        [fact for fact, *_ in FACTS + _OWN_FACTS],
    )


def load_examined(folder: Path, parts: Mapping[str, Part]) -> Examined:
    """Reads what `examine` has written of these parts."""
    found = load_findings(folder, parts)
    return Examined(found.splits, found.bad, {n: v for n, v in found.facts.items() if v})


def speaker_of(file: bytes, pattern: re.Pattern) -> bytes:
    """Finds the speaker in the name of a file: the first group of the expression that matches;
    empty where none does."""
    match = pattern.search(file.decode("utf-8", "replace").rpartition("/")[2])
    groups = [group for group in match.groups() if group] if match else []
    return groups[0].encode() if groups else b""


def _compiled(speakers: str) -> re.Pattern:
    try:
        pattern = re.compile(speakers or SPEAKERS)
    except re.error as error:
        raise InputError(f"speaker_pattern = {speakers}; no regular expression: {error}") from None
    if not pattern.groups:
        raise InputError(f"speaker_pattern = {speakers}; expected a group, as '_([a-z]+)_'")
    return pattern


def facts_of_sound(sound: Sound, shortest: float, longest: float) -> dict[str, Any]:
    """Checks a decoded sound and tells the `FACTS` of it.

    shortest, longest: seconds.

    Raises:
      BadRecord: samples that are too many, too few or silent.
    """
    samples, rate = sound
    seconds = len(samples) / rate
    if seconds > longest:
        raise BadRecord(f"lasts {seconds:.1f} s; expected at most {longest:g}", "overlong")
    if seconds < shortest:
        least = round(1000 * shortest)
        raise BadRecord(f"lasts {1000 * seconds:.0f} ms; expected at least {least}", "short")
    if np.ptp(samples.astype(np.int32)) < 2 * _SILENT:
        raise BadRecord("is silent: no sample is above -60 dB", "silent")
    loud = np.count_nonzero((samples >= 32767) | (samples <= -32768))
    return {
        "hash": content_hash(str(rate).encode(), samples),
        "samples": len(samples),
        "rate": rate,
        "clipped": loud > _CLIPPED * len(samples),
    }


def repeated_elsewhere(
    tables: Mapping[str, Table], parts: Mapping[str, Part], fact: str, noun: str
) -> list[BadRow]:
    """Marks as bad the training sounds that an evaluation split has too, and the sounds that stand
    earlier in their split with another value of a fact, for which there is a noun."""
    bad = duplicates(tables, parts, "sound")
    for split, table in tables.items():
        bad += _contradictions(parts[split], table, fact, noun)
    return bad


def counted(tables: Mapping[str, Table], parts: Mapping[str, Part]) -> dict[str, Any]:
    """Counts and lists the good sounds that repeat an earlier one or are clipped, and counts their
    rates."""
    rates = (table["rate"][table["good"]].tolist() for table in tables.values())
    return {
        "repeated": _listing(parts, {split: _repeated(table) for split, table in tables.items()}),
        "clipped": _listing(parts, {s: t["good"] & t["clipped"] for s, t in tables.items()}),
        "rates": Counter(str(rate) for some in rates for rate in some),
    }


def _contradictions(part: Part, table: Table, fact: str, noun: str) -> list[BadRow]:
    bad, first = [], {}
    for line in np.flatnonzero(table["good"]).tolist():
        value, own = int(table["hash"][line]), int(table[fact][line])
        place, known = first.setdefault(value, (line, own))
        if known != own:
            other = part.place(int(part.rows[place]))
            reason = f"is the same sound as {other} with another {noun}"
            bad.append(part.bad(int(part.rows[line]), "contradiction", reason))
            table["good"][line] = False
    return bad


def _repeated(table: Table) -> np.ndarray:
    """Marks the good sounds that repeat an earlier one of their split."""
    good = np.flatnonzero(table["good"])
    again = np.zeros(len(table), bool)
    again[good] = True
    again[good[np.unique(table["hash"][good], return_index=True)[1]]] = False
    return again


def _listing(parts: Mapping[str, Part], marks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Counts and names the marked sounds of each split that has some."""
    found = {}
    for split, marked in marks.items():
        rows = parts[split].rows[marked].tolist()
        if rows:
            names = [parts[split].place(int(row)) for row in rows[:_LISTED]]
            found[split] = {"count": len(rows), "records": names}
    return found


def common_rate(splits: Mapping[str, Selection]) -> int:
    """Returns the commonest rate of the training sounds."""
    rates = Counter(splits[TRAIN].known["rate"].tolist())
    return int(rates.most_common(1)[0][0])
