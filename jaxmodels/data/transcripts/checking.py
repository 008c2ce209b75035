"""Checks of all sounds with texts: which are good, and what is known of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmodels.data.audio.checking import (
    FACTS,
    counted,
    facts_of_sound,
    repeated_elsewhere,
    sound_of,
)
from jaxmodels.data.checking import content_hash, inspect_parts, keep_findings, load_findings
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
_OWN_FACTS = [
    ("said", np.uint64),  # hash of the text
    ("label", np.int32),  # 0: sounds are divided without a look at their texts
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
        heard = facts_of_sound(sound_of(record, rate), _SHORTEST, longest)
        return {**heard, "said": content_hash(" ".join(text.split()).encode())}

    tables, bad = inspect_parts(name, parts, inspect, FACTS + _OWN_FACTS)
    bad += repeated_elsewhere(tables, parts, "said", "text")
    known = ["hash", "label", "samples", "rate"]
    keep_findings(folder, parts, tables, bad, counted(tables, parts), known)
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
