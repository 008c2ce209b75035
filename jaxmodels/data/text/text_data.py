"""Text as data for a model: columns of tokens, and what is known of the text behind them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jaxmodels.data.absent import NAMED, Absent, kept_identity
from jaxmodels.data.dataset import TRAIN, BadRow, DataFacts, found_facts
from jaxmodels.data.loading import fits_device
from jaxmodels.data.text.checking import Counts
from jaxmodels.data.text.packing import TokenColumn
from jaxmodels.data.text.sources import (
    MOST_RESIDENT,
    ResidentWindows,
    StreamedWindows,
    WindowSource,
)
from jaxmodels.data.text.tokenizers import Tokenizer, tokenizer_from, tokenizer_values
from jaxmodels.data.text.windows import SlidingWindows, training_windows
from jaxmodels.protocol import Metadata


@dataclass(frozen=True, kw_only=True, eq=False)
class TextData:
    """Text of a training split and of others ("validation", "test", ...) that are evaluated."""

    name: str
    version: str
    fingerprint: str  # of the content of the text
    tokenizer: Tokenizer
    columns: Mapping[str, TokenColumn]
    counts: Mapping[str, Counts]
    documents: str  # what a document is
    divided: str = ""  # how splits were made of the training text: by "documents" or "position"
    fractions: Mapping[str, float] | None = None  # of the training text, of the splits made of it
    cleaning: Mapping[str, Any] | None = None
    skipped: tuple[BadRow, ...] = ()
    defines_words: bool = False  # whether the corpus has a fixed vocabulary of words
    context: int
    stride: int
    windows: Literal["random", "contiguous"] = "random"
    loading: Literal["auto", "resident", "streamed"] = "auto"

    @property
    def sizes(self) -> dict[str, int]:
        """The number of tokens of each split."""
        return {split: len(column) for split, column in self.columns.items()}

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_text` needs, as JSON values."""
        return {
            "tokenizer": tokenizer_values(self.tokenizer),
            "documents": self.documents,
            "context": self.context,
            "stride": self.stride,
        }

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "documents": self.documents,
            "splits": {
                split: {**asdict(self.counts[split]), "tokens": len(column)}
                for split, column in self.columns.items()
            },
            "tokenizer": {
                "name": self.tokenizer.name,
                "size": self.tokenizer.size,
                "end": self.tokenizer.end,
                "fingerprint": self.tokenizer.fingerprint,
            },
            "defines_words": self.defines_words,
        }
        if self.divided:
            facts["divided"] = {"by": self.divided, "fractions": dict(self.fractions or {})}
        facts |= found_facts(self.cleaning, self.skipped)
        return DataFacts(facts)

    @property
    def is_streamed(self) -> bool:
        """Whether windows are read from the file instead of the device."""
        if self.loading != "auto":
            return self.loading == "streamed"
        sizes = [len(column) for column in self.columns.values()]
        total = sum(column.nbytes for column in self.columns.values())
        return max(sizes) > MOST_RESIDENT or not fits_device(total)

    def source(self, split: str, documents: bool = False) -> WindowSource:
        """Makes a source of the windows of a split: training windows of "train", and of the others
        sliding windows that score every token once.

        documents: batches have the column "document", so that attention and loss can be kept
          inside documents.

        Raises:
          InputError: a context that is longer than the training split, or a split of no token.
        """
        column = self.columns[split]
        if split == TRAIN:
            windows = training_windows(self.windows, len(column), self.context)
        else:
            windows = SlidingWindows(len(column), self.context, self.stride)
        kind = StreamedWindows if self.is_streamed else ResidentWindows
        return kind(column, windows, documents)


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentText(Absent, TextData):
    """Text without the text."""


def absent_text(kept: Metadata) -> AbsentText:
    """Makes text without the text of what a run has kept of it."""
    values = kept.values
    return AbsentText(
        **kept_identity(kept, *NAMED),
        **{name: values[name] for name in ("documents", "context", "stride")},
        tokenizer=tokenizer_from(values["tokenizer"]),
        columns={},
        counts={},
    )
