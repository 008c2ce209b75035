"""A table that is ready to learn from, and other rows with its columns."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.absent import Absent, kept_identity
from jaxmodels.data.dataset import TRAIN, BadRecord, BadRow, Columns, DataFacts, found_facts
from jaxmodels.data.resident import Resident
from jaxmodels.data.tables.encoding import Encoder, encoder_of
from jaxmodels.data.tables.reading import pieces_of_rows, read_pieces
from jaxmodels.data.tables.splitting import Split
from jaxmodels.data.tables.targets import Target
from jaxmodels.errors import listed
from jaxmodels.protocol import Metadata


@dataclass(frozen=True, kw_only=True, eq=False)
class TableData:
    """The splits of a table, encoded: "numbers" and "codes" (see `Encoder`), and "target", which is
    scaled by the training split in a regression."""

    name: str
    fingerprint: str  # of the content
    encoder: Encoder
    target: Target
    splits: Mapping[str, Columns]
    rows: Mapping[str, Split]  # of each split, their places in the table, from 0
    left_out: Mapping[str, str] = field(default_factory=dict)  # columns, and why
    skipped: tuple[BadRow, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of rows of each split."""
        return {split: len(rows) for split, rows in self.rows.items()}

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_table` needs, as JSON values."""
        return {"columns": self.encoder.facts(), "target": self.target._asdict()}

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "splits": self.sizes,
            "target": self.target.facts(),
        }
        if self.left_out:
            facts["left_out"] = dict(self.left_out)
        facts |= found_facts({}, self.skipped)
        return DataFacts(facts)

    def source(self, split: str) -> Resident:
        """Makes the source of batches of a split; a row is named by its number in the table."""
        rows = self.rows[split]
        return Resident(self.splits[split], lambda row: row_name(self.name, int(rows[row])))

    def summary(self) -> str:
        """Says in a few lines what is learned from and what is left out."""
        encoder, target = self.encoder, self.target
        found = f"{len(encoder.numbers):,} of numbers, {len(encoder.categories):,} of categories"
        missing = {name: c.missing for name, c in encoder.columns.items() if c.missing}
        lines = [f"columns: {found}", f"target: {target.column}, {target.task}"]
        if target.names:
            lines[-1] += f": {self._balance()}"
        if missing:
            lines.append(
                f"missing: {listed([f'{name} {n:,}' for name, n in missing.items()], 8)} (numbers"
                " are replaced by the median and marked, categories have one for them)"
            )
        if self.left_out:
            lines.append(
                f"left out: {listed([f'{n} ({why})' for n, why in self.left_out.items()], 8)}"
            )
        return "\n".join(lines)

    def target_counts(self) -> dict[str, int]:
        """Counts the training rows of each class or label."""
        values, names = self.splits[TRAIN]["target"], self.target.names
        if self.target.task == "classification":
            counts = np.bincount(values, minlength=len(names))
        else:
            counts = values.sum(0) if names else np.zeros(0, int)
        return dict(zip(names, counts.tolist(), strict=True))

    def _balance(self) -> str:
        """Lists the training rows of each class or label, most first."""
        counts = sorted(self.target_counts().items(), key=lambda pair: -pair[1])
        return listed([f"{name} {count:,}" for name, count in counts], 8)


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentTable(Absent, TableData):
    """A table without the rows."""

    def target_counts(self) -> dict[str, int]:
        """Knows no rows."""
        return {}


def absent_table(kept: Metadata) -> AbsentTable:
    """Makes a table without the rows of what a run has kept of it."""
    target = Target(**kept.values["target"])
    return AbsentTable(
        **kept_identity(kept, "name", "fingerprint"),
        encoder=encoder_of(kept.values["columns"]),
        target=target._replace(names=tuple(target.names)),
        splits={},
        rows={},
    )


def row_name(name: str, row: int) -> str:
    """Names a row of a table by its number, where the first one below the names is 1."""
    return f"{name}:{row + 1}"


def read_rows(inputs: Any, data: TableData) -> Iterator[tuple[str, Columns | BadRecord]]:
    """Yields name and columns of each row of a file, or of rows in memory, which count from "0"; a
    target is not looked at. In place of the columns of a row that cannot be used there is a
    BadRecord. Categories that training did not have are noted on standard error.

    Raises:
      InputError: no such file, or a column that training had is not there.
    """
    is_file, at = isinstance(inputs, Path), 0
    unknown: dict[str, Counter[str]] = {}
    for table, errors in read_pieces(inputs) if is_file else pieces_of_rows(inputs):
        encoded = data.encoder.encode(table)
        wrong = encoded.wrong | errors
        for name, values in encoded.unknown.items():
            unknown.setdefault(name, Counter()).update(values)
        for row in range(table.num_rows):
            name = row_name(inputs.name, at) if is_file else str(at)
            columns = {column: values[row] for column, values in encoded.columns.items()}
            yield name, BadRecord(wrong[row]) if row in wrong else columns
            at += 1
    for name, values in unknown.items():
        print(
            f"note: {values.total():,} rows have a {name} that training had not; it counts as"
            f" none of its: {listed([f'{value} {n:,}' for value, n in values.most_common()], 8)}",
            file=sys.stderr,
        )
