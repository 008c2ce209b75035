"""Sentences that are ready to learn from, and other sentences as their tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmodels.data.absent import NAMED, Absent, kept_identity
from jaxmodels.data.buckets import Bucket, Bucketed
from jaxmodels.data.dataset import (
    TRAIN,
    BadRecord,
    BadRow,
    Columns,
    DataFacts,
    found_facts,
    told_of,
)
from jaxmodels.data.resident import Resident
from jaxmodels.data.sentences.vocabulary import vocabulary_from, vocabulary_values
from jaxmodels.data.text.framing import PADDING, Framing, in_rows, tokenizer_facts
from jaxmodels.data.text.given import given_lines
from jaxmodels.protocol import Metadata

Text = tuple[str, ...]  # one text, or a pair
_READ = 512  # lines that become tokens at once


class Sentences(NamedTuple):
    """The sentences of a split."""

    texts: Sequence[Text]
    labels: Int[np.ndarray, " sentence"]
    keys: Sequence[str]  # names of the records


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceData:
    """Sentences of a training split and of others ("validation", "test", ...) that are evaluated.

    A split has the columns "tokens" and "segments" (see `in_rows`), int32 [sentence, length], and
    "label", int32.

    buckets: the shapes of training batches; none: that of the columns.
    """

    name: str
    version: str
    fingerprint: str  # of the content
    class_names: tuple[str, ...]
    splits: Mapping[str, Sentences]
    tokenizer: Any  # a `Framing` with name, size and fingerprint
    length: int
    texts: int = 1  # 2: of pairs
    buckets: tuple[Bucket, ...] = ()
    fold: tuple[int, int] | None = None  # its number, and how many there are
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[BadRow, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of sentences of each split."""
        return {split: len(some.texts) for split, some in self.splits.items()}

    def columns(self, split: str) -> Columns:
        """Makes the columns of a split."""
        some = self.splits[split]
        return {**columns_of(self.tokenizer, self.length, some.texts), "label": some.labels}

    def training(self) -> Resident | Bucketed:
        """Makes the source of training batches."""
        if not self.buckets:
            return self.source(TRAIN)
        columns, key = self.columns(TRAIN), self.splits[TRAIN].keys.__getitem__
        lengths = np.sum(columns["tokens"] != PADDING, axis=1, keepdims=True)
        return Bucketed(columns, lengths, self.buckets, key)

    def source(self, split: str) -> Resident:
        """Makes the source of batches of a split, all of one length."""
        return Resident(self.columns(split), self.splits[split].keys.__getitem__)

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_sentences` needs, as JSON values."""
        return {
            "class_names": list(self.class_names),
            "tokenizer": vocabulary_values(self.tokenizer),
            "length": self.length,
            "texts": self.texts,
        }

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": self.sizes,
            "classes": list(self.class_names),
            "length": self.length,
            "tokenizer": tokenizer_facts(self.tokenizer),
        }
        if self.buckets:
            facts["buckets"] = [bucket.lengths[0] for bucket in self.buckets]
        if self.fold:
            facts["fold"] = {"number": self.fold[0], "of": self.fold[1]}
        facts |= found_facts(self.cleaning, self.skipped)
        return DataFacts(facts)

    def summary(self) -> str:
        """Says in a few lines what is learned from."""
        counts = np.bincount(self.splits[TRAIN].labels, minlength=len(self.class_names))
        balance = ", ".join(f"{name} {n:,}" for name, n in zip(self.class_names, counts.tolist()))
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        lines = [
            f"sentences: {sizes}; of the training split {balance}",
            f"tokens: {self.tokenizer.name}, {self.tokenizer.size:,} of them; {self.length} a row",
        ]
        if self.buckets:
            lines.append(f"buckets: {', '.join(map(str, self.buckets))} tokens")
        lines += told_of("repeated", self.cleaning)
        for split, count in self.cleaning.get("cut", {}).items():
            lines.append(f"longer than a row in {split}: {count:,}, whose ends are cut off")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentSentences(Absent, SentenceData):
    """Sentences without the sentences."""


def absent_sentences(kept: Metadata) -> AbsentSentences:
    """Makes sentences without the sentences of what a run has kept of them."""
    values = kept.values
    return AbsentSentences(
        **kept_identity(kept, *NAMED),
        class_names=tuple(values["class_names"]),
        splits={},
        tokenizer=vocabulary_from(values["tokenizer"]),
        length=values["length"],
        texts=values["texts"],
        buckets=tuple(Bucket((length,)) for length in kept.facts["data"].get("buckets", ())),
    )


def columns_of(
    tokenizer: Framing, length: int, texts: Sequence[Text]
) -> dict[str, Int[np.ndarray, "sentence length"]]:
    """Makes rows of tokens of texts; texts of fewer tokens are filled up."""
    return in_rows(tokenizer.framed(texts, length), length)


def read_sentences(
    given: Path | Sequence[Any], data: SentenceData
) -> Iterator[tuple[str, Columns | BadRecord]]:
    """Yields each line of a text file, or each of several strings, with its columns; in place of
    these the error of a line that cannot be used. A pair of texts has a tab between them in a file,
    and is a tuple in memory.

    Raises:
      InputError: no file, or no line.
    """
    lines = iter(_lines_of(given, data.texts))
    while some := list(islice(lines, _READ)):
        texts = [text for _, text in some if not isinstance(text, BadRecord)]
        columns = columns_of(data.tokenizer, data.length, texts)
        at = 0
        for name, text in some:
            if isinstance(text, BadRecord):
                yield name, text
            else:
                yield name, {column: values[at] for column, values in columns.items()}
                at += 1


def _lines_of(given: Any, count: int) -> Iterator[tuple[str, Text | BadRecord]]:
    if isinstance(given, Path):
        for text, error in given_lines(given, "a sentence"):
            parts = tuple(text.split("\t")) if count > 1 else (text,)
            yield text, error or _required(parts, count)
        return
    for one in given:
        text = (one,) if isinstance(one, str) else tuple(one)
        yield "\t".join(text), _required(text, count)


def _required(text: Text, count: int) -> Text | BadRecord:
    if len(text) != count:
        return BadRecord(
            f"has {len(text)} texts; expected {count} with a tab between them", "count"
        )
    if not all(part.strip() for part in text):
        return BadRecord("has no visible character", "empty")
    return text
