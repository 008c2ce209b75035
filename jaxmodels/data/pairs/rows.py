"""Rows of tokens for a model that reads one text and writes another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxmodels.data.text.framing import PADDING
from jaxmodels.data.text.tokenizers import Tokenizer, Tokens, tokenizer_from, tokenizer_values
from jaxmodels.errors import InputError


@dataclass(frozen=True)
class PairRows:
    """Rows of sources and of targets, int32 [text, length], filled up with -1. A source ends with
    the end token; a target begins with the start token and ends with the end token, unless it is
    cut.

    prefix: stands before each source, as T5 is told its task.
    """

    tokenizer: Tokenizer
    start: int
    end: int
    prefix: str = ""

    @classmethod
    def of(cls, tokenizer: Tokenizer, prefix: str = "") -> "PairRows":
        """Makes the rows of a tokenizer. Targets begin with its padding, as those of Marian and T5
        do, or with the end token where it has none.

        Raises:
          InputError: it has no token that ends a text.
        """
        if tokenizer.end is None:
            raise InputError(
                f"tokenizer = {tokenizer.name}; it has no token that ends a text: expected another"
            )
        padding = getattr(tokenizer, "padding", None)
        start = tokenizer.end if padding is None else padding
        return cls(tokenizer, start, tokenizer.end, prefix)

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "PairRows":
        """Makes the rows of which these are the `values`."""
        tokenizer = tokenizer_from(values["tokenizer"])
        return cls(tokenizer, values["start"], values["end"], values["prefix"])

    def values(self) -> dict[str, Any]:
        """Returns what `of_values` makes the same rows of, as JSON values."""
        return {
            "tokenizer": tokenizer_values(self.tokenizer),
            "start": self.start,
            "end": self.end,
            "prefix": self.prefix,
        }

    def sources(self, texts: Sequence[str], length: int) -> Int[np.ndarray, "text length"]:
        """Makes the rows of texts that are read; what is too long is cut off."""
        tokens = self.read(texts)
        return _filled([np.append(some[: length - 1], self.end) for some in tokens], length)

    def targets(self, texts: Sequence[str], length: int) -> Int[np.ndarray, "text length"]:
        """Makes the rows of texts that are written; what is too long is cut off."""
        tokens = (ended(some, length - 2, self.end) for some in self.written(texts))
        return _filled([np.append(self.start, some) for some in tokens], length)

    def read(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of texts that are read, with the prefix and without the end."""
        return self.tokenizer.encode([self.prefix + text for text in texts])

    def written(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of texts that are written: some tokenizers have others for these."""
        return getattr(self.tokenizer, "encode_targets", self.tokenizer.encode)(texts)

    def text(self, tokens: Int[np.ndarray, " token"]) -> str:
        """Returns the text of what was written behind the start token."""
        tokens = tokens[tokens != PADDING]
        ends = np.flatnonzero(tokens == self.end)
        return self.tokenizer.decode(tokens[: ends[0]] if len(ends) else tokens)


def ended(tokens: Tokens, most: int, end: int) -> Int[np.ndarray, " ended"]:
    """Puts the end behind tokens, or cuts those that are more than `most`, which do not end there:
    no model should learn that they do."""
    return np.append(tokens, np.int32(end)) if len(tokens) <= most else tokens[:most]


def _filled(texts: Sequence[np.ndarray], length: int) -> Int[np.ndarray, "text length"]:
    rows = np.full((len(texts), length), PADDING, np.int32)
    for row, tokens in zip(rows, texts):
        row[: len(tokens)] = tokens
    return rows
