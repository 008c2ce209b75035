"""Checks of all records of a data set, made once; their findings are kept on disk.

A modality, such as images, calls `inspect_parts` with its own check of a record, its checks of all
records together, `duplicates` and `keep_findings`; then `load_findings` and `check_policy`.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from jaxmodels.data.dataset import (
    TRAIN,
    VALIDATION,
    BadRecord,
    BadRow,
    Part,
    Record,
    Selection,
    evaluation_splits,
)
from jaxmodels.data.kept import save_array
from jaxmodels.data.threads import in_threads, read_each
from jaxmodels.errors import InputError

_LISTED, _NOTED = 10, 3  # bad records in an error, and in a note
BAD_RECORDS = "bad-records.txt"  # beside the findings: all of them, one a line

Table = Shaped[np.ndarray, " record"]  # a line of facts per record; the fact "good" is a bool


class Findings(NamedTuple):
    """What the checks of a data set found."""

    splits: Mapping[str, Selection]  # the good records, without splits that have none
    bad: tuple[BadRow, ...]
    facts: dict[str, Any]  # what the modality found of the good records


def inspect_parts(
    name: str,
    parts: Mapping[str, Part],
    inspect: Callable[[Record], Mapping[str, Any]],
    facts: Sequence[tuple],
) -> tuple[dict[str, Table], list[BadRow]]:
    """Inspects all records, in threads; returns a table of each split and the bad records.

    inspect: returns the facts of a good record; raises BadRecord for a bad one, whose line of the
      table stays zero.
    facts: names and types of these facts (as of a structured dtype); "hash" is of the content.
    """
    dtype = np.dtype([("good", bool), *facts])

    def look_at(part: Part, rows: np.ndarray) -> tuple[Table, list[BadRow]]:
        table, bad = np.zeros(len(rows), dtype), []
        for line, row, record in zip(table, rows.tolist(), read_each(part.records, rows.tolist())):
            try:
                if isinstance(record, BadRecord):
                    raise record
                for column, value in inspect(record).items():
                    line[column] = value
                line["good"] = True
            except BadRecord as error:
                bad.append(part.bad(row, error.kind, error))
        return table, bad

    tables, bad = {}, []
    for split, part in parts.items():
        print(f"checking {len(part.rows):,} records of {name}/{split}, once", file=sys.stderr)
        found = list(in_threads(lambda rows, part=part: look_at(part, rows), part.rows))
        tables[split] = np.concatenate([table for table, _ in found] or [np.zeros(0, dtype)])
        bad += [row for _, some in found for row in some]
    return tables, bad


def require_class(label: int | np.integer, classes: int) -> None:
    """Requires a label of one of so many classes.

    Raises:
      BadRecord: it is none of them.
    """
    if not 0 <= label < classes:
        meaning = " (unknown)" if label == -1 else ""
        raise BadRecord(f"has label {label}{meaning}; expected 0 to {classes - 1}", "label")


def content_hash(*parts: bytes | np.ndarray) -> int:
    """Hashes the bytes of all parts to 64 bits, for the fact "hash"."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return int.from_bytes(digest.digest(), "little")


def duplicates(
    tables: Mapping[str, Table], parts: Mapping[str, Part], content: str
) -> list[BadRow]:
    """Marks as bad the training records that another split has too, and the validation records
    that a test split has; returns them. A record may repeat within a split and in test splits.

    content: the word for what is hashed.
    """
    bad, hashes, places = [], np.zeros(0, np.uint64), []
    test_splits = [split for split in evaluation_splits(parts) if split != VALIDATION]
    for split in [*test_splits, *(split for split in (VALIDATION, TRAIN) if split in parts)]:
        part, table = parts[split], tables[split]
        lines = np.flatnonzero(table["good"])
        digests = table["hash"][lines]
        again = np.isin(digests, hashes) & (split not in test_splits)
        order = np.argsort(hashes, kind="stable")
        firsts = order[np.searchsorted(hashes, digests[again], sorter=order)]
        for line, first in zip(lines[again].tolist(), firsts.tolist()):
            where, row = places[first]
            reason = f"has the same {content} as {where.place(row)}"
            bad.append(part.bad(int(part.rows[line]), "duplicate", reason))
        table["good"][lines[again]] = False
        if split != TRAIN:
            hashes = np.concatenate([hashes, digests[~again]])
            places += [(part, row) for row in part.rows[lines[~again]].tolist()]
    return bad


def keep_findings(
    folder: Path,
    parts: Mapping[str, Part],
    tables: Mapping[str, Table],
    bad: list[BadRow],
    facts: Mapping[str, Any],
    known: Sequence[str] = (),
) -> None:
    """Writes findings for `load_findings`.

    facts: what the modality found of the good records, as JSON values.
    known: names of the facts of each good record that are kept too.
    """
    stored = list(dict.fromkeys(part.stored for part in parts.values()))
    bad = sorted(bad, key=lambda row: (stored.index(row.split), row.row))
    for split, table in tables.items():
        good = table["good"]
        save_array(folder / f"{split}-rows.npy", parts[split].rows[good])
        for name in known:
            save_array(folder / f"{split}-{name}.npy", table[name][good])
    findings = {"bad": bad, "facts": facts, "known": list(known)}
    (folder / "findings.json").write_text(json.dumps(findings))
    lines = "".join(f"{row}\n" for row in bad)
    (folder / BAD_RECORDS).write_text(lines, "utf-8", "surrogateescape")


def load_findings(folder: Path, parts: Mapping[str, Part]) -> Findings:
    """Reads what `keep_findings` has written of these parts."""
    found = json.loads((folder / "findings.json").read_text())
    splits = {}
    for split, part in parts.items():
        rows = np.load(folder / f"{split}-rows.npy")
        known = {name: np.load(folder / f"{split}-{name}.npy") for name in found["known"]}
        if len(rows):
            splits[split] = Selection(part.records, rows, known)
    return Findings(splits, tuple(BadRow(*row) for row in found["bad"]), found["facts"])


def check_policy(
    name: str,
    bad: Sequence[BadRow],
    skip_bad_records: int,
    folder: Path | None = None,
    mends: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Notes on standard error which records are left out, if any.

    folder: that of the findings, where the whole list lies; None: it is kept nowhere.
    mends: by kind, sentences that say how to mend such records.

    Raises:
      InputError: more records are bad than `skip_bad_records`.
    """
    if not bad:
        return
    records = f"{len(bad):,} bad record{'s' if len(bad) > 1 else ''}"
    if len(bad) > skip_bad_records:
        kinds = Counter(row.kind for row in bad)
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        mend = "".join(f"{mends[kind]}. " for kind in kinds if kind in mends)
        mend += f"Mend the data, or leave them out: --skip-bad-records {len(bad)}"
        raise InputError(
            f"data '{name}' has {records} ({counts}); expected at most {skip_bad_records}:"
            f" {_listed(bad, _LISTED, folder)}. {mend}"
        )
    # Every command on these data says so again, so it is short where a file has the whole list.
    most = _LISTED if folder is None else _NOTED
    print(f"note: skipped {records}: {_listed(bad, most, folder)}", file=sys.stderr)


def _varied(bad: Sequence[BadRow]) -> list[BadRow]:
    """Sorts the first record of each kind before the second ones, so that a short list has all."""
    seen: Counter[str] = Counter()

    def rank(row: BadRow) -> int:
        seen[row.kind] += 1
        return seen[row.kind]

    return sorted(bad, key=rank)


def _listed(bad: Sequence[BadRow], most: int, folder: Path | None) -> str:
    listed = "; ".join(map(str, _varied(bad)[:most]))
    more = f"; and {len(bad) - most:,} more" if len(bad) > most else ""
    return listed + more + (f". The whole list: {folder / BAD_RECORDS}" if folder else "")
