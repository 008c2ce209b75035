"""Checks of all pairs of texts: which are left out, and what is counted of the others."""

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
)
from jaxmodels.data.dataset import TRAIN, BadRecord, BadRow, Part, Record, Selection
from jaxmodels.data.text.documents import why_undecodable

MENDS = {
    "undecodable": "iconv -f latin1 -t utf-8 FILE converts a file of another encoding",
    "overlong": "--longest N allows more characters",
    "duplicate": "A pair that is trained on scores too well",
}
SIDES = ("source", "target")
_LISTED = 20  # repeated pairs in the record of a run
_FACTS = [("hash", np.uint64), ("source", np.uint64), ("target", np.uint64), ("copy", bool)]


class Examined(NamedTuple):
    """The good pairs of each split, and what was found of all."""

    splits: Mapping[str, Selection]  # with the known columns "source" and "target": hashes
    bad: tuple[BadRow, ...]
    cleaning: Mapping[str, Any]  # counts of what was found, for the record of a run


def examine(name: str, parts: Mapping[str, Part], longest: int, folder: Path) -> None:
    """Reads all pairs, checks them and writes what was found into a folder.

    Bad are pairs of which a text cannot be read, is no UTF-8, has no visible character or more than
    `longest` characters, and training pairs that an evaluation split has too. Counted are pairs
    that repeat an earlier one of their split, and those whose target is their source.
    """

    def inspect(record: Record) -> Mapping[str, Any]:
        if record.get("broken"):
            raise BadRecord("lacks a text: it has too few columns", "broken")
        for side in SIDES:
            _require_good(side, record[side], longest)
        # Space around a text makes it no other one.
        source, target = (b" ".join(record[side].split()) for side in SIDES)
        return {
            "hash": content_hash(source + b"\0" + target),
            "source": content_hash(source),
            "target": content_hash(target),
            "copy": source == target,
        }

    tables, bad = inspect_parts(name, parts, inspect, _FACTS)
    bad += duplicates(tables, parts, "texts")
    keep_findings(folder, parts, tables, bad, _counted(parts, tables), SIDES)


def load_examined(folder: Path, parts: Mapping[str, Part]) -> Examined:
    """Reads what `examine` has written of these parts."""
    found = load_findings(folder, parts)
    return Examined(found.splits, found.bad, found.facts)


def in_evaluation(splits: Mapping[str, Selection]) -> dict[str, np.ndarray]:
    """Marks the training pairs whose source, and those whose target, stands in an evaluation split
    on the same side."""
    train = splits[TRAIN].known
    others = [some.known for split, some in splits.items() if split != TRAIN]
    return {
        side: np.isin(train[side], np.concatenate([known[side] for known in others]))
        if others
        else np.zeros(len(train[side]), bool)
        for side in SIDES
    }


def _require_good(side: str, text: bytes, longest: int) -> None:
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(f"{why_undecodable(error)} ({side})", "undecodable") from None
    if not decoded.strip():
        raise BadRecord(f"has no visible character as {side}", "empty")
    if len(decoded) > longest:
        told = f"has {len(decoded):,} characters as {side}; expected at most {longest:,}"
        raise BadRecord(told, "overlong")


def _counted(parts: Mapping[str, Part], tables: Mapping[str, Table]) -> dict[str, Any]:
    cleaning: dict[str, Any] = {}
    good = {split: table[table["good"]] for split, table in tables.items()}
    for split, table in good.items():
        again = np.ones(len(table), bool)
        again[np.unique(table["hash"], return_index=True)[1]] = False
        if again.any():
            rows = parts[split].rows[tables[split]["good"]][again]
            places = [parts[split].place(int(row)) for row in rows[:_LISTED]]
            found = {"count": int(again.sum()), "records": places}
            cleaning.setdefault("repeated", {})[split] = found
        if table["copy"].any():
            cleaning.setdefault("copies", {})[split] = int(table["copy"].sum())
    return cleaning
