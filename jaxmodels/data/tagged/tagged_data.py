"""Sentences of tagged words that are ready to learn from, and other sentences as their tokens."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmodels.data.absent import NAMED, Absent, kept_identity
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
from jaxmodels.data.tagged.checking import require_words
from jaxmodels.data.tagged.pieces import (
    Aligning,
    Pieces,
    Words,
    aligning_from,
    aligning_values,
)
from jaxmodels.data.tagged.reading import (
    ENDINGS,
    OUTSIDE,
    conll_sentences,
    json_sentences,
)
from jaxmodels.data.text.framing import Framed, in_rows, rounded_up, tokenizer_facts
from jaxmodels.data.text.given import given_lines
from jaxmodels.errors import InputError
from jaxmodels.protocol import Metadata

UNTAGGED = -1  # the target of tokens that do not count
_MULTIPLE = 8  # of the length of a row
# Words and marks of a line of text.
_WORD = re.compile(r"\w+(?:[-'’.]\w+)*|[^\w\s]")


class Tagged(NamedTuple):
    """The sentences of a split."""

    words: Sequence[Words]
    tags: Sequence[Int[np.ndarray, " word"]]
    keys: Sequence[str]  # names of the records


@dataclass(frozen=True, kw_only=True, eq=False)
class TaggedData:
    """Sentences of a training split and of others ("validation", "test", ...) that are evaluated.

    A split has the columns "tokens" and "segments" (see `in_rows`) and "target", int32 [sentence,
    length]: the tag at the first piece of a word, `UNTAGGED` elsewhere.

    longest: the most tokens of a row that is predicted.
    """

    name: str
    version: str
    fingerprint: str  # of the content
    tags: tuple[str, ...]  # their names
    splits: Mapping[str, Tagged]
    tokenizer: Aligning
    length: int
    longest: int
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[BadRow, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of sentences of each split."""
        return {split: len(some.words) for split, some in self.splits.items()}

    def pieces(self, split: str) -> list[Pieces]:
        """Returns the tokens of a split, which are made once."""
        if split not in self._made:
            self._made[split] = self.tokenizer.pieces(self.splits[split].words, self.length)
        return self._made[split]

    @cached_property
    def _made(self) -> dict[str, list[Pieces]]:
        return {}

    def columns(self, split: str) -> Columns:
        """Makes the columns of a split."""
        pieces, tags = self.pieces(split), self.splits[split].tags
        columns = rows_of(pieces, self.length)
        words = columns.pop("word")
        target = np.full_like(words, UNTAGGED)
        for row, own in enumerate(tags):
            first = words[row] >= 0
            target[row, first] = own[words[row, first]]
        return {**columns, "target": target}

    def source(self, split: str) -> Resident:
        """Makes the source of batches of a split."""
        return Resident(self.columns(split), self.splits[split].keys.__getitem__)

    def metadata(self) -> dict[str, Any]:
        """Returns what `absent_tagged` needs, as JSON values."""
        return {
            "tags": list(self.tags),
            "tokenizer": aligning_values(self.tokenizer),
            "length": self.length,
            "longest": self.longest,
        }

    def facts(self) -> DataFacts:
        """Returns what identifies the data, for the record of a run."""
        facts: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "splits": self.sizes,
            "tags": list(self.tags),
            "length": self.length,
            "tokenizer": tokenizer_facts(self.tokenizer),
        }
        facts |= found_facts(self.cleaning, self.skipped)
        return DataFacts(facts)

    def summary(self) -> str:
        """Says in a few lines what is learned from."""
        sizes = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        counts = np.bincount(np.concatenate(self.splits[TRAIN].tags), minlength=len(self.tags))
        balance = ", ".join(f"{name} {n:,}" for name, n in zip(self.tags, counts.tolist()))
        lines = [
            f"sentences: {sizes}; words of the training split: {balance}",
            f"tokens: {self.tokenizer.name}, {self.tokenizer.size:,} of them; {self.length} a row",
        ]
        lines += told_of("repeated", self.cleaning)
        for split, count in self.cleaning.get("cut", {}).items():
            lines.append(f"longer than a row in {split}: {count:,}, whose ends count as {OUTSIDE}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, eq=False)
class AbsentTagged(Absent, TaggedData):
    """Tagged sentences without the sentences."""


def absent_tagged(kept: Metadata) -> AbsentTagged:
    """Makes tagged sentences without the sentences of what a run has kept of them."""
    values = kept.values
    return AbsentTagged(
        **kept_identity(kept, *NAMED),
        tags=tuple(values["tags"]),
        splits={},
        tokenizer=aligning_from(values["tokenizer"]),
        length=values["length"],
        longest=values["longest"],
    )


def rows_of(
    sentences: Sequence[Pieces], length: int
) -> dict[str, Int[np.ndarray, "sentence length"]]:
    """Fills sentences up to one length: "tokens", "segments", and "word": the number of the word
    that a token is the first piece of, or -1."""
    columns = in_rows([Framed(one.tokens, one.segments) for one in sentences], length)
    word = np.full((len(sentences), length), -1, np.int32)
    for row, one in zip(word, sentences):
        row[: len(one.words)] = one.words
    return {**columns, "word": word}


def tags_of(
    predicted: Int[np.ndarray, " length"],
    word: Int[np.ndarray, " token"],
    count: int,
    names: Sequence[str],
) -> list[str]:
    """Returns the tag of each of `count` words from those of their first pieces; words without a
    piece are outside.

    word: of each token, as in `rows_of`.
    """
    tags = [OUTSIDE] * count
    for place in np.flatnonzero(word >= 0).tolist():
        tags[int(word[place])] = names[int(predicted[place])]
    return tags


def read_words(
    given: Path | Sequence[Any], data: TaggedData
) -> Iterator[tuple[str, Columns | BadRecord]]:
    """Yields each sentence of a file, or each of several lists of words or strings, with its
    columns; in place of these the error of one that cannot be used. The name is the words with a
    space between them.

    A file is of JSON lines (.jsonl, with "tokens"), in CoNLL's form (.conll, .bio, .iob) or a text
    with a sentence a line, which is divided into words and marks.

    Raises:
      InputError: no file, or no sentence.
    """
    found = list(_read_file(given) if isinstance(given, Path) else map(_named, given))
    good = [words for _, words in found if not isinstance(words, BadRecord)]
    pieces = data.tokenizer.pieces(good, data.longest)
    most = max((len(one.tokens) for one in pieces), default=1)
    # All sentences have one length, so that one program serves all.
    length = rounded_up(max(most, data.length), _MULTIPLE, data.longest)
    columns, at = rows_of(pieces, length), 0
    for name, words in found:
        if isinstance(words, BadRecord):
            yield name, words
            continue
        if pieces[at].is_cut:
            told = f"has more than {data.longest} tokens; divide it"
            yield name, BadRecord(told, "overlong")
        else:
            own = {column: values[at] for column, values in columns.items()}
            yield name, {**own, "words": np.array(len(words), np.int32)}
        at += 1


def _read_file(path: Path) -> Iterator[tuple[str, Words | BadRecord]]:
    suffix = path.suffix.lower()
    if suffix not in ENDINGS:
        for line, error in given_lines(path, "a sentence"):
            yield (line, error) if error else _named(line)
        return
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"input = {path}; it cannot be read: {error.strerror}") from None
    if not content.strip():
        raise InputError(f"input = {path}; it has no sentence: expected one a line")
    lines = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    read = json_sentences if suffix == ".jsonl" else conll_sentences
    for number, sentence in read(lines, tagged=False):
        if isinstance(sentence, BadRecord):
            yield f"line {number}", sentence
        else:
            yield _named(sentence.words)


def _named(one: Any) -> tuple[str, Words | BadRecord]:
    """Returns the name of a prediction, and the words of a text or of a list."""
    words = _WORD.findall(one) if isinstance(one, str) else list(one)
    if not all(isinstance(word, str | bytes) for word in words):
        return repr(words), BadRecord("has a word that is no text", "undecodable")
    encoded = [w.encode("utf-8", "surrogatepass") if isinstance(w, str) else w for w in words]
    name = b" ".join(encoded).decode("utf-8", "replace")
    try:
        require_words(encoded)
    except BadRecord as error:
        return name, error
    return name, tuple(word.decode() for word in encoded)
