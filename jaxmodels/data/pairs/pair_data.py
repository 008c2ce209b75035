"""Pairs of texts that are ready to learn from, and other sources as their tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmodels.data.absent import NAMED, Absent, kept_identity
from jaxmodels.data.buckets import Bucket, Bucketed, Lengths
from jaxmodels.data.dataset import (
    TRAIN,
    BadRecord,
    BadRow,
    Columns,
    DataFacts,
    found_facts,
    told_of,
)
from jaxmodels.data.pairs.rows import PairRows
from jaxmodels.data.resident import Resident
from jaxmodels.data.text.framing import tokenizer_facts
from jaxmodels.data.text.given import given_texts
from jaxmodels.data.text.tokenizers import Tokenizer
from jaxmodels.protocol import Metadata

_READ = 512  # lines that become tokens at once
_LONGER = 4  # times the length of training pairs, which others may have


class Pairs(NamedTuple):
    """The pairs of a split, ordered by their lengths in tokens."""

    sources: Sequence[str]
    targets: Sequence[str]
    keys: Sequence[str]  # names of the records
    places: Int[np.ndarray, " pair"]  # in the split as it is stored
    lengths: Lengths  # in tokens, with those around


@dataclass(frozen=True, kw_only=True, eq=False)
class PairData:
    """Pairs of a training split and of others ("validation", "test", ...) that are evaluated.

    A split has the columns "source" and "target", which are those of `rows`.

    lengths: the most tokens of a training pair. Others have up to `longest`.
    """

    name: str
    version: str
    fingerprint: str  # of the content
    pair: str
    splits: Mapping[str, Pairs]
    rows: PairRows
    lengths: tuple[int, int]
    buckets: tuple[Bucket, ...]
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[BadRow, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of pairs of each split."""
        return {split: len(some.sources) for split, some in self.splits.items()}

    @property
    def longest(self) -> tuple[int, int]:
        """The most tokens of any source and target; of longer ones the ends are cut off."""
        return _LONGER * self.lengths[0], _LONGER * self.lengths[1]

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokens of both sides."""
        return self.rows.tokenizer

    def columns(self, split: str) -> Columns:
        """Makes the columns of a split, as long as its longest texts, or those of training."""
        some = self.splits[split]
        source, target = self.lengths if split == TRAIN else some.lengths.max(axis=0).tolist()
        return {
            "source": self.rows.sources(some.sources, source),
            "target": self.rows.targets(some.targets, target),
        }

    def training(self) -> Bucketed:
        """Makes the source of training batches."""
        some = self.splits[TRAIN]
        key = some.keys.__getitem__
        return Bucketed(self.columns(TRAIN), some.lengths, self.buckets, key)

    def source(self, split: str) -> Resident:
        """Makes the source of batches of an evaluation, whose pairs have similar lengths."""
        return Resident(self.columns(split), self.splits[split].keys.__getitem__)

    def texts(self, split: str) -> tuple[list[str], list[str]]:
        """Returns the sources and targets of a split, as they are stored."""
        some = self.splits[split]
        return list(some.sources), list(some.targets)

    def places(self, split: str) -> Int[np.ndarray, " pair"]:
        """Returns the places of a split's pairs as they are stored."""
        return self.splits[split].places

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_pairs` needs, as JSON values."""
        return {
            "rows": self.rows.values(),
            "lengths": list(self.lengths),
            "buckets": [bucket.values() for bucket in self.buckets],
        }

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "pair": self.pair,
            "splits": self.sizes,
            "lengths": list(self.lengths),
            "buckets": [bucket.values() for bucket in self.buckets],
            "tokenizer": tokenizer_facts(self.tokenizer),
        }
        facts |= found_facts(self.cleaning, self.skipped)
        return DataFacts(facts)

    def summary(self) -> str:
        """Says in a few lines what is learned from."""
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        shapes = ", ".join(map(str, self.buckets))
        lengths = self.splits[TRAIN].lengths
        lines = [
            f"pairs: {sizes}; {lengths[:, 0].mean():.1f} + {lengths[:, 1].mean():.1f} tokens each",
            f"tokens: {self.tokenizer.name}, {self.tokenizer.size:,} of them",
            f"buckets, in a row of a batch: {shapes} tokens",
        ]
        cleaning = self.cleaning
        lines += told_of("repeated", cleaning)
        for split, count in cleaning.get("copies", {}).items():
            lines.append(f"target equal to source in {split}: {count:,}")
        if "shared" in cleaning:
            told = ", ".join(f"{side} {count:,}" for side, count in cleaning["shared"].items())
            lines.append(
                f"training pairs of which one text is in an evaluation split: {told};"
                f" {cleaning.get('dropped', 0):,} left out (--drop-shared)"
            )
        if count := cleaning.get("long"):
            lines.append(f"training pairs that are longer than a row and left out: {count:,}")
        for split, count in cleaning.get("cut", {}).items():
            lines.append(f"far longer than in training in {split}: {count:,}, whose ends are cut")
        return "\n".join(lines)


def read_sources(
    given: Path | Sequence[Any], data: PairData
) -> Iterator[tuple[str, Columns | BadRecord]]:
    """Yields each line of a text file, or each of several strings, with its columns; in place of
    these the error of a line that cannot be used.

    Raises:
      InputError: no file, or no line.
    """
    lines = given_texts(given, "a text")
    while some := list(islice(lines, _READ)):
        texts = [text for text, error in some if error is None]
        rows, counts = data.rows.sources(texts, data.longest[0]), map(len, data.rows.read(texts))
        good = zip(rows, counts)
        for text, error in some:
            if error is None:
                row, count = next(good)
                if count < data.longest[0]:
                    yield text, {"source": row}
                    continue
                told = f"has {count:,} tokens; expected fewer than {data.longest[0]}: divide it"
                error = BadRecord(told, "overlong")
            yield text, error


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentPairs(Absent, PairData):
    """Pairs without the pairs."""


def absent_pairs(kept: Metadata) -> AbsentPairs:
    """Makes pairs without the pairs of what a run has kept of them."""
    values = kept.values
    source, target = values["lengths"]
    return AbsentPairs(
        **kept_identity(kept, *NAMED, "pair"),
        splits={},
        rows=PairRows.of_values(values["rows"]),
        lengths=(source, target),
        buckets=tuple(Bucket.of_values(bucket) for bucket in values["buckets"]),
    )
