"""Documents with summaries that are ready to learn from, and other documents as their tokens."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmodels.data.absent import NAMED, Absent, kept_identity
from jaxmodels.data.buckets import Bucket, Bucketed, choose_buckets, filled
from jaxmodels.data.dataset import (
    TRAIN,
    BadRecord,
    BadRow,
    Columns,
    DataFacts,
    found_facts,
    told_of,
)
from jaxmodels.data.documents.rows import Rows, rows_from, rows_values
from jaxmodels.data.resident import Resident
from jaxmodels.data.text.framing import tokenizer_facts
from jaxmodels.data.text.given import given_texts
from jaxmodels.protocol import Metadata

_READ = 256  # documents that become tokens at once


class Documents(NamedTuple):
    """The documents of a split."""

    sentences: Sequence[tuple[str, ...]]
    summaries: Sequence[tuple[str, ...]]  # one or more of each
    keys: Sequence[str]  # names of the records

    @property
    def texts(self) -> list[str]:
        """Each document as one text."""
        return [" ".join(sentences) for sentences in self.sentences]

    def pairs(self, every: bool) -> tuple[list[str], list[str], list[str]]:
        """Lists documents and summaries and their names.

        every: a document comes once for each summary; otherwise with its first alone.
        """
        documents, summaries, keys = [], [], []
        for document, own, key in zip(self.texts, self.summaries, self.keys, strict=True):
            for number, summary in enumerate(own if every else own[:1]):
                documents.append(document)
                summaries.append(summary)
                keys.append(f"{key}#{number}" if number else key)
        return documents, summaries, keys


@dataclass(frozen=True, kw_only=True, eq=False)
class DocumentData:
    """Documents with summaries of a training split and of others that are evaluated.

    An example of the training split is a document with one of its summaries; an example of another
    split is a document, whose first summary its loss is of. The columns are those of `rows`.
    """

    name: str
    version: str
    fingerprint: str  # of the content
    splits: Mapping[str, Documents]
    rows: Rows
    most_buckets: int = 1
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[BadRow, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of documents of each split."""
        return {split: len(some.keys) for split, some in self.splits.items()}

    def training(self) -> Resident | Bucketed:
        """Makes the source of training batches; with several buckets without the column "row"."""
        if len(self.buckets) == 1:
            return self.source(TRAIN)
        documents, summaries, keys = self.splits[TRAIN].pairs(every=True)
        columns = self.rows.columns(documents, summaries)
        return Bucketed(columns, self._lengths, self.buckets, keys.__getitem__)

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        """The shapes of training batches."""
        most = self.rows.document, self.rows.summary + 2
        if self.most_buckets == 1:
            return (Bucket(most, 1),)
        return filled(choose_buckets(self._lengths, most, self.most_buckets))

    @cached_property
    def _lengths(self) -> Int[np.ndarray, "pair 2"]:
        """Counts the tokens of each training pair, as they stand in their rows."""
        documents, summaries, _ = self.splits[TRAIN].pairs(every=True)
        source, target = map(np.array, self.rows.lengths(documents, summaries))
        target = np.minimum(target, self.rows.summary) + 2
        return np.stack([np.minimum(source, self.rows.document), target], axis=1)

    def source(self, split: str, every: bool | None = None) -> Resident:
        """Makes the source of batches of a split.

        every: a document comes once for each summary; None: in the training split.
        """
        every = split == TRAIN if every is None else every
        documents, summaries, keys = self.splits[split].pairs(every)
        columns = {**self.rows.columns(documents, summaries)}
        columns["row"] = np.arange(len(keys), dtype=np.int32)
        return Resident(columns, keys.__getitem__)

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_documents` needs, as JSON values."""
        return {
            "rows": rows_values(self.rows),
            "buckets": [bucket.values() for bucket in self.buckets],
        }

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": self.sizes,
            "lengths": {"document": self.rows.document, "summary": self.rows.summary},
            "buckets": [bucket.values() for bucket in self.buckets],
            "tokenizer": tokenizer_facts(self.rows.tokenizer),
        }
        facts |= found_facts(self.cleaning, self.skipped)
        return DataFacts(facts)

    def summary(self) -> str:
        """Says in a few lines what is learned from."""
        tokenizer, rows = self.rows.tokenizer, self.rows
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        lines = [
            f"documents: {sizes}",
            f"tokens: {tokenizer.name}, {tokenizer.size:,} of them; {rows.document} of a document,"
            f" {rows.summary} of a summary",
        ]
        if len(self.buckets) > 1:
            shapes = ", ".join(map(str, self.buckets))
            lines.append(f"buckets, in a row of a batch: {shapes} tokens")
        lines += told_of("repeated", self.cleaning)
        for split, counts in self.cleaning.get("cut", {}).items():
            told = " and ".join(f"{count:,} {what}" for what, count in counts.items())
            lines.append(f"longer than a row in {split}: {told}, whose ends are cut off")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentDocuments(Absent, DocumentData):
    """Documents without the documents."""

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        """The shapes of training batches."""
        return tuple(Bucket.of_values(bucket) for bucket in self.kept.values["buckets"])


def absent_documents(kept: Metadata) -> AbsentDocuments:
    """Makes documents without the documents of what a run has kept of them."""
    rows = rows_from(kept.values["rows"])
    return AbsentDocuments(**kept_identity(kept, *NAMED), splits={}, rows=rows)


class _Given(NamedTuple):
    """A document that a user names, and whether its end is not read."""

    text: str
    is_cut: bool


class DocumentReader:
    """Reads documents that a user names, and says what a model wrote about them."""

    def __init__(self, data: DocumentData):
        self._rows, self._read = data.rows, list[_Given]()

    def read(self, given: Path | Sequence[str]) -> Iterator[tuple[str, Columns | BadRecord]]:
        """Yields each line of a text file, or each of several strings, with its columns; in place
        of these the error of a line that cannot be used.

        Raises:
          InputError: no file, or no line.
        """
        self._read.clear()
        lines = given_texts(given, "a document")
        most = self._rows.document
        while some := list(islice(lines, _READ)):
            good = [text for text, error in some if error is None]
            nothing = [""] * len(good)
            columns = self._rows.columns(good, nothing)
            counts, _ = self._rows.lengths(good, nothing)
            at = 0
            for text, error in some:
                if error is not None:
                    yield text, error
                    continue
                row = np.array(len(self._read), np.int32)
                self._read.append(_Given(text, counts[at] > most))
                yield text, {**{name: column[at] for name, column in columns.items()}, "row": row}
                at += 1
        if count := sum(one.is_cut for one in self._read):
            print(
                f"note: {count:,} of {len(self._read):,} documents have more than {most:,} tokens,"
                " which are read of each: their ends are cut off",
                file=sys.stderr,
            )

    def write(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Makes the line of what was written about a document; "cut" where its end was not read."""
        document, is_cut = self._read[int(outputs["row"])]
        tokens = np.asarray(outputs["tokens"])[: int(outputs["length"])]
        line = {"output": self._rows.text(tokens, document)}
        return {**line, "cut": True} if is_cut else line
