"""Checks of all sounds with texts: which are good, and what is known of them."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.audio.checking import sound_of
from jaxmodels.data.checking import (
    Table,
    content_hash,
    duplicates,
    inspect_parts,
    keep_findings,
    load_findings,
)
from jaxmodels.data.dataset import BadRecord, BadRow, Part, Record, Selection
from jaxmodels.data.text.documents import why_undecodable
from jaxmodels.data.threads import in_threads

MENDS = {
    "overlong": "--longest SECONDS allows longer ones",
    "undecodable": "ffmpeg -i FILE FILE.flac converts other kinds of files",
    "duplicate": "A sound that is trained on scores too well",
    "contradiction": "One sound cannot say two texts",
    "silent": "Nothing can be heard in them",
    "hurried": "A text needs a frame for each of its labels: --units words needs fewer",
}
_SHORTEST = 0.05  # seconds
_SILENT = 33  # of 32,768: -60 dB
_CLIPPED = 0.001  # share of samples at the limits of 16 bits from which on a sound is listed
_LISTED = 20  # records of each kind in the record of a run
_FACTS = [
    ("hash", np.uint64),
    ("said", np.uint64),  # hash of the text
    ("label", np.int32),  # 0: sounds are divided without a look at their texts
    ("samples", np.int64),
    ("rate", np.int32),
    ("clipped", bool),
]


class Examined(NamedTuple):
    """The good sounds of each split, with the known columns "hash", "label", "samples" and "rate",
    and what was found of all."""

    splits: Mapping[str, Selection]
    texts: Mapping[str, list[str]]  # of the good sounds
    bad: tuple[BadRow, ...]
    cleaning: Mapping[str, Any]  # counts of what was found, for the record of a run


def text_of(record: Record) -> str:
    """Decodes the text of a record.

    Raises:
      BadRecord: it is no UTF-8, or has no visible character.
    """
    try:
        text = record["text"].decode()
    except UnicodeDecodeError as error:
        raise BadRecord(f"has a text that {why_undecodable(error)}", "text") from None
    if not text.strip():
        raise BadRecord("has a text without a visible character", "text")
    return text


def examine(name: str, parts: Mapping[str, Part], rate: int, longest: float, folder: Path) -> None:
    """Decodes all sounds, checks them and writes what was found into a folder.

    Bad are sounds that cannot be read or decoded, that are silent (below -60 dB), last less than 50
    ms or more than `longest` seconds, or whose text cannot be read; training sounds that an
    evaluation split has too; and sounds that stand in their split before with another text. Sounds
    that repeat an earlier one of their split, and those of which more than a thousandth of the
    samples is clipped, are counted and listed.

    rate: of samples that are not encoded.
    """

    def inspect(record: Record) -> Mapping[str, Any]:
        text = text_of(record)
        samples, own = sound_of(record, rate)
        _require_good(samples, own, longest)
        loud = np.count_nonzero((samples >= 32767) | (samples <= -32768))
        return {
            "hash": content_hash(str(own).encode(), samples),
            "said": content_hash(" ".join(text.split()).encode()),
            "samples": len(samples),
            "rate": own,
            "clipped": loud > _CLIPPED * len(samples),
        }

    tables, bad = inspect_parts(name, parts, inspect, _FACTS)
    bad += duplicates(tables, parts, "sound")
    for split, table in tables.items():
        bad += _contradictions(parts[split], table)
    cleaning = {
        "repeated": _listing(parts, {split: _repeated(table) for split, table in tables.items()}),
        "clipped": _listing(parts, {s: t["good"] & t["clipped"] for s, t in tables.items()}),
        "rates": Counter(
            str(value) for t in tables.values() for value in t["rate"][t["good"]].tolist()
        ),
    }
    keep_findings(folder, parts, tables, bad, cleaning, ["hash", "label", "samples", "rate"])
    for split, part in parts.items():
        rows = part.rows[tables[split]["good"]]
        (folder / f"{split}-texts.json").write_text(json.dumps(_texts(part, rows)))


def load_examined(folder: Path, parts: Mapping[str, Part]) -> Examined:
    """Reads what `examine` has written of these parts."""
    found = load_findings(folder, parts)
    texts = {
        split: json.loads((folder / f"{split}-texts.json").read_text()) for split in found.splits
    }
    return Examined(found.splits, texts, found.bad, {n: v for n, v in found.facts.items() if v})


def _texts(part: Part, rows: np.ndarray) -> list[str]:
    def read(some: np.ndarray) -> list[str]:
        return [text_of(record) for record in part.records.read(some.tolist())]

    return [text for some in in_threads(read, rows) for text in some]


def _require_good(samples: np.ndarray, rate: int, longest: float) -> None:
    seconds = len(samples) / rate
    if seconds > longest:
        raise BadRecord(f"lasts {seconds:.1f} s; expected at most {longest:g}", "overlong")
    if seconds < _SHORTEST:
        raise BadRecord(f"lasts {1000 * seconds:.0f} ms; expected at least 50", "short")
    if np.ptp(samples.astype(np.int32)) < 2 * _SILENT:
        raise BadRecord("is silent: no sample is above -60 dB", "silent")


def _contradictions(part: Part, table: Table) -> list[BadRow]:
    """Marks as bad the sounds that stand earlier in their split with another text."""
    bad, first = [], {}
    for line in np.flatnonzero(table["good"]).tolist():
        value, said = int(table["hash"][line]), int(table["said"][line])
        place, known = first.setdefault(value, (line, said))
        if known != said:
            reason = f"is the same sound as {part.place(int(part.rows[place]))} with another text"
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
    found = {}
    for split, marked in marks.items():
        rows = parts[split].rows[marked].tolist()
        if rows:
            names = [parts[split].place(int(row)) for row in rows[:_LISTED]]
            found[split] = {"count": len(rows), "records": names}
    return found
