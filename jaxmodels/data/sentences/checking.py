"""Checks of all sentences: which are left out, and what is counted of the others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
from jaxmodels.data.sentences.reading import COLUMNS
from jaxmodels.data.text.documents import why_undecodable

MENDS = {
    "undecodable": "iconv -f latin1 -t utf-8 FILE converts a file of another encoding",
    "overlong": "--longest N allows more characters",
    "duplicate": "A sentence that is trained on scores too well",
    "contradiction": "One sentence cannot have two labels",
}
_LISTED = 20  # repeated sentences in the record of a run
_FACTS = [("hash", np.uint64), ("label", np.int32)]


class Examined(NamedTuple):
    """The good sentences of each split, and what was found of all."""

    splits: Mapping[str, Selection]  # with the known columns "hash" and "label"
    bad: tuple[BadRow, ...]
    cleaning: Mapping[str, Any]  # counts of what was found, for the record of a run


def examine(name: str, parts: Mapping[str, Part], classes: int, longest: int, folder: Path) -> None:
    """Reads all sentences, checks them and writes what was found into a folder.

    Bad are sentences that cannot be read, are no UTF-8, have no visible character or more than
    `longest` characters, or a label out of range; training sentences that an evaluation split has
    too; and training sentences that stand there before with another label. Sentences that repeat an
    earlier one of their split with its label are counted and listed.
    """

    def inspect(record: Record) -> Mapping[str, Any]:
        if record.get("broken"):
            told = "has another number of values than the line of names"
            raise BadRecord(told, "broken")
        texts = [record[column] for column in COLUMNS if column in record]
        for text in texts:
            require_good(text, longest)
        require_class(int(record["label"]), classes)
        # Space around a sentence makes it no other one.
        whole = b"\0".join(b" ".join(text.split()) for text in texts)
        return {"hash": content_hash(whole), "label": int(record["label"])}

    tables, bad = inspect_parts(name, parts, inspect, _FACTS)
    bad += duplicates(tables, parts, "text")
    bad += contradictions(parts[TRAIN], tables[TRAIN], "label")
    cleaning = {"repeated": repeated(tables, parts)}
    keep_findings(folder, parts, tables, bad, cleaning, ("hash", "label"))


def load_examined(folder: Path, parts: Mapping[str, Part]) -> Examined:
    """Reads what `examine` has written of these parts."""
    found = load_findings(folder, parts)
    return Examined(found.splits, found.bad, found.facts)


def require_good(text: bytes, longest: int) -> None:
    """Requires UTF-8 with a visible character, and at most `longest` characters.

    Raises:
      BadRecord: a text that is none.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(why_undecodable(error), "undecodable") from None
    if not decoded.strip():
        raise BadRecord("has no visible character", "empty")
    if len(decoded) > longest:
        raise BadRecord(
            f"has {len(decoded):,} characters; expected at most {longest:,}", "overlong"
        )


def contradictions(part: Part, table: Table, answer: str) -> list[BadRow]:
    """Marks as bad the sentences that stand earlier in their split with another answer.

    answer: the fact that has to be the same, by a word for it: "label".
    """
    bad, first = [], {}
    for line in np.flatnonzero(table["good"]).tolist():
        value, own = int(table["hash"][line]), int(table[answer][line])
        place, known = first.setdefault(value, (line, own))
        if known != own:
            where = part.place(int(part.rows[place]))
            other = "other" if answer.endswith("s") else "another"
            reason = f"has the same text as {where} and {other} {answer}"
            bad.append(part.bad(int(part.rows[line]), "contradiction", reason))
            table["good"][line] = False
    return bad


def repeated(tables: Mapping[str, Table], parts: Mapping[str, Part]) -> dict[str, Any]:
    """Counts the good records of each split that repeat an earlier one, and lists the first."""
    places = {split: _repeated(parts[split], table) for split, table in tables.items()}
    return {
        split: {"count": len(some), "records": some[:_LISTED]}
        for split, some in places.items()
        if some
    }


def _repeated(part: Part, table: Table) -> list[str]:
    """Names the good sentences that repeat an earlier one of their split."""
    good = np.flatnonzero(table["good"])
    again = np.ones(len(good), bool)
    again[np.unique(table["hash"][good], return_index=True)[1]] = False
    return [part.place(int(row)) for row in part.rows[good[again]]]
