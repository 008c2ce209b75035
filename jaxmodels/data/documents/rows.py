"""Rows of tokens: for a model that reads a document and writes a summary, with words that it copies
or without, and for a model of the next token, to which both are one text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxmodels.data.dataset import Columns
from jaxmodels.data.documents.words import END, PADDING, START, CopyVocabulary
from jaxmodels.data.pairs.rows import PairRows, ended
from jaxmodels.data.text.bpe import PublishedTokenizer
from jaxmodels.data.text.chat import Turn, chat_of
from jaxmodels.data.text.tokenizers import Tokens, tokenizer_from, tokenizer_values
from jaxmodels.errors import InputError

COPY, SEQUENCE, PROMPT = "copy", "sequence", "prompt"  # kinds of rows, as models need them
INSTRUCTION = "Summarize the text in one short sentence."
SEPARATOR = "\n\nTL;DR:"  # Radford et al. 2019, section 3.6
_NO_CHAT = (
    "take another model, or leave chat_template out of its tokenizer_config.json:"
    f" {SEPARATOR.strip()} then stands behind a document"
)


@dataclass(frozen=True)
class CopyRows:
    """Rows of a document and of a summary.

    Columns: "source", int32 [n, document], has the words of a document, "copied" the same in its
    extended vocabulary, and "target", int32 [n, summary + 2], the words of a summary in that, with
    START before and END behind them, unless it was cut. All are filled up with PADDING.
    """

    tokenizer: CopyVocabulary
    document: int
    summary: int

    def columns(self, documents: Sequence[str], summaries: Sequence[str]) -> Columns:
        """Makes the columns of pairs; what is too long is cut off."""
        count = len(documents)
        source, copied = np.full((2, count, self.document), PADDING, np.int32)
        target = np.full((count, self.summary + 2), PADDING, np.int32)
        for row, (document, summary) in enumerate(zip(documents, summaries, strict=True)):
            words = self.words(document)
            source[row, : len(words)], copied[row, : len(words)] = self.tokenizer.source(words)
            own = self.tokenizer.target(self.tokenizer.divided(summary), words)
            framed = np.append(START, ended(own, self.summary, END))
            target[row, : len(framed)] = framed
        return {"source": source, "copied": copied, "target": target}

    def words(self, document: str) -> list[str]:
        """Returns the words of a document that its row has."""
        return self.tokenizer.divided(document)[: self.document]

    def lengths(self, documents: Sequence[str], summaries: Sequence[str]) -> tuple[list, list]:
        """Counts the words of documents and summaries, uncut."""
        count = lambda texts: [len(self.tokenizer.divided(text)) for text in texts]  # noqa: E731
        return count(documents), count(summaries)

    def text(self, tokens: Int[np.ndarray, " token"], document: str) -> str:
        """Returns the text that tokens say of a document."""
        return self.tokenizer.text(tokens.tolist(), self.words(document))


@dataclass(frozen=True)
class SequenceRows:
    """Rows of a document and of a summary as sources and targets.

    Columns: "source", int32 [n, document], and "target", int32 [n, summary + 2], are those of
    `PairRows`. Of the tokens of a document, its end is one, and the prefix has some.
    """

    pairs: PairRows
    document: int
    summary: int

    @property
    def tokenizer(self) -> Any:
        """The tokens of both."""
        return self.pairs.tokenizer

    @property
    def end(self) -> int:
        """The token that ends a summary."""
        return self.pairs.end

    def columns(self, documents: Sequence[str], summaries: Sequence[str]) -> Columns:
        """Makes the columns of pairs; what is too long is cut off."""
        return {
            "source": self.pairs.sources(documents, self.document),
            "target": self.pairs.targets(summaries, self.summary + 2),
        }

    def lengths(self, documents: Sequence[str], summaries: Sequence[str]) -> tuple[list, list]:
        """Counts the tokens of documents and summaries, uncut."""
        sources, targets = self.pairs.read(documents), self.pairs.written(summaries)
        return [len(one) + 1 for one in sources], [len(one) for one in targets]

    def text(self, tokens: Int[np.ndarray, " token"], document: str) -> str:
        """Returns the text of tokens up to the end of a summary."""
        return self.pairs.text(tokens)


@dataclass(frozen=True)
class PromptRows:
    """Rows of a document and its summary as one text: in a conversation where the tokenizer knows
    one, else with `SEPARATOR` between them.

    Columns: "tokens", int32 [n, length + 1], "scored", bool [n, length], which tokens from the
    second on are of the summary and its end, which one that is cut has not, and "prompt", int32
    [n], the number of those before.
    """

    tokenizer: Any
    document: int
    summary: int

    @property
    def length(self) -> int:
        """The number of inputs of a row."""
        return len(self._before) + self.document + len(self._between) + self.summary

    @property
    def end(self) -> int:
        """The token that ends a summary."""
        return self._frame[2]

    def columns(self, documents: Sequence[str], summaries: Sequence[str]) -> Columns:
        """Makes the columns of pairs; what is too long is cut off."""
        count, before, between, end = len(documents), *self._frame
        tokens = np.full((count, self.length + 1), end, np.int32)
        scored = np.zeros((count, self.length), bool)
        prompt = np.zeros(count, np.int32)
        sources, targets = self._encoded(documents), self._encoded(summaries, self._gap)
        for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
            cut = source[: self.document]
            asked = np.concatenate([before, cut, between])
            said = ended(target, self.summary, end)
            tokens[row, : len(asked) + len(said)] = np.concatenate([asked, said])
            scored[row, len(asked) - 1 : len(asked) + len(said) - 1] = True
            prompt[row] = len(asked)
        return {"tokens": tokens, "scored": scored, "prompt": prompt}

    def lengths(self, documents: Sequence[str], summaries: Sequence[str]) -> tuple[list, list]:
        """Counts the tokens of documents and summaries, uncut."""
        sources, targets = self._encoded(documents), self._encoded(summaries, self._gap)
        return [len(one) for one in sources], [len(one) for one in targets]

    def text(self, tokens: Int[np.ndarray, " token"], document: str) -> str:
        """Returns the text of tokens up to the end of a summary."""
        ends = np.flatnonzero(tokens == self.end)
        cut = tokens[: ends[0]] if len(ends) else tokens
        return " ".join(self.tokenizer.decode(cut).split())

    def _encoded(self, texts: Sequence[str], gap: str = "") -> list[Tokens]:
        return self.tokenizer.encode([gap + text.strip() for text in texts])

    @property
    def _gap(self) -> str:
        return "" if self._is_chat else " "

    @property
    def _is_chat(self) -> bool:
        tokenizer = self.tokenizer
        return isinstance(tokenizer, PublishedTokenizer) and "chat_template" in tokenizer.config

    @property
    def _before(self) -> Tokens:
        return self._frame[0]

    @property
    def _between(self) -> Tokens:
        return self._frame[1]

    @cached_property
    def _frame(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Returns the tokens before and behind a document, and the one behind a summary."""
        if self._is_chat:
            chat = chat_of(self.tokenizer, _NO_CHAT)
            # The place of the document is found between two frames of different texts.
            one, other = (
                chat.tokens([Turn("system", INSTRUCTION), Turn("user", text)]) for text in "ab"
            )
            at = int(np.flatnonzero(one != other)[0])
            return one[:at], one[at + 1 :], chat.end
        end = self.tokenizer.end
        if end is None:
            raise InputError(
                f"tokenizer = {self.tokenizer.name}; it has no token for the end of a document,"
                " where a summary could end: expected another"
            )
        between = self.tokenizer.encode([SEPARATOR])[0]
        return np.array([end], np.int32), between, end


Rows = CopyRows | SequenceRows | PromptRows


def rows_values(rows: Rows) -> dict[str, Any]:
    """Returns what `rows_from` makes the same rows of, as JSON values."""
    sizes = {"document": rows.document, "summary": rows.summary}
    if isinstance(rows, CopyRows):
        words = {"words": list(rows.tokenizer.words), "lower": rows.tokenizer.lower}
        return {**sizes, "vocabulary": words}
    if isinstance(rows, SequenceRows):
        return {**sizes, "pairs": rows.pairs.values()}
    return {**sizes, "tokenizer": tokenizer_values(rows.tokenizer)}


def rows_from(values: Mapping[str, Any]) -> Rows:
    """Inverts `rows_values`."""
    sizes = values["document"], values["summary"]
    if "vocabulary" in values:
        own = values["vocabulary"]
        return CopyRows(CopyVocabulary(tuple(own["words"]), own["lower"]), *sizes)
    if "pairs" in values:
        return SequenceRows(PairRows.of_values(values["pairs"]), *sizes)
    return PromptRows(tokenizer_from(values["tokenizer"]), *sizes)
