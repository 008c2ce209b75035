"""Texts as networks read them whole: tokens with what stands around them, in rows of one length."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

PADDING = -1  # a token behind the end of a text


class Framed(NamedTuple):
    """The tokens of a text, or of a pair of them, with those that stand around and between them."""

    tokens: Int[np.ndarray, " token"]
    segments: Int[np.ndarray, " token"]  # the number of the text of a pair
    is_cut: bool = False  # the text is longer


@runtime_checkable
class Framing(Protocol):
    """A tokenizer that frames texts."""

    def framed(self, texts: Sequence[tuple[str, ...]], most: int) -> list[Framed]:
        """Returns the tokens of each text, or pair of texts, of which there are at most `most`."""
        ...


def in_rows(texts: Sequence[Framed], length: int) -> dict[str, np.ndarray]:
    """Fills texts up to one length: columns "tokens" and "segments", int32 [text, length]."""
    tokens = np.full((len(texts), length), PADDING, np.int32)
    segments = np.zeros((len(texts), length), np.int32)
    for row, text in enumerate(texts):
        tokens[row, : len(text.tokens)] = text.tokens
        segments[row, : len(text.segments)] = text.segments
    return {"tokens": tokens, "segments": segments}


def rounded_up(length: int, multiple: int, most: int) -> int:
    """Rounds a length up, so that few lengths are compiled."""
    return min(most, max(multiple, -(-length // multiple) * multiple))


def tokenizer_facts(tokenizer: Any) -> dict[str, Any]:
    """Returns what identifies a tokenizer, for the facts of its data."""
    return {
        "name": tokenizer.name,
        "size": tokenizer.size,
        "fingerprint": tokenizer.fingerprint,
    }
