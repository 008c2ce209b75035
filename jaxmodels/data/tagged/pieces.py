"""Words as tokens: each word as one of a vocabulary, or as pieces of a published tokenizer."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from jaxmodels.data.text.bpe import PublishedTokenizer
from jaxmodels.data.text.tokenizers import tokenizer_from, tokenizer_values

UNKNOWN = 0  # the token of a word whose shape training did not have
_FEWEST = 2  # times that training has a word with a token of its own
_LONGEST_SHAPE = 4

Words = tuple[str, ...]


class Pieces(NamedTuple):
    """The tokens of a sentence, with those that stand around it."""

    tokens: Int[np.ndarray, " token"]
    segments: Int[np.ndarray, " token"]
    words: Int[np.ndarray, " token"]  # the word that a token is the first piece of; -1: none
    is_cut: bool  # the sentence is longer


@runtime_checkable
class Aligning(Protocol):
    """A tokenizer of words."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def pieces(self, sentences: Sequence[Words], most: int) -> list[Pieces]:
        """Returns the tokens of each sentence, of which there are at most `most`."""
        ...


@dataclass(frozen=True)
class WordTokens:
    """Words by their numbers, as they are written. Words that training has once or never are known
    by their shape: capitals, small letters and digits ("Xx", "X.", "0")."""

    words: tuple[str, ...]  # the first has the number 1
    name = "words"

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(self.words) + 1

    @property
    def fingerprint(self) -> str:
        """What changes when the tokens of a sentence do."""
        text = "\n".join(self.words).encode("utf-8", "surrogatepass")
        return hashlib.sha256(text).hexdigest()[:16]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words, 1)}

    def pieces(self, sentences: Sequence[Words], most: int) -> list[Pieces]:
        """Returns a token for each word, without those behind `most`."""
        return [self._pieces(words, most) for words in sentences]

    def _pieces(self, words: Words, most: int) -> Pieces:
        known = self._places
        tokens = [known.get(word, known.get(shape_of(word), UNKNOWN)) for word in words[:most]]
        places = np.arange(len(tokens), dtype=np.int32)
        return Pieces(np.array(tokens, np.int32), np.zeros_like(places), places, len(words) > most)


def word_tokens(sentences: Iterable[Words], most: int) -> WordTokens:
    """Makes the tokens of training sentences: the shapes of all words, and the commonest words."""
    counts = Counter(word for words in sentences for word in words)
    shapes = sorted({shape_of(word) for word in counts})
    known = sorted((n for n in counts if counts[n] >= _FEWEST), key=lambda n: (-counts[n], n))
    return WordTokens(tuple([*shapes, *known][: most - 1]))


def shape_of(word: str) -> str:
    """Returns the shape of a word: X for capitals, x for other letters, 0 for digits. A mark stands
    before it, so that no shape equals a word."""
    return "\0" + "".join(sign for sign, _ in groupby(map(_sign, word)))[:_LONGEST_SHAPE]


def _sign(character: str) -> str:
    if character.isdigit():
        return "0"
    if character.isalpha():
        return "X" if character.isupper() else "x"
    return character


class PieceTokens:
    """The pieces of a published tokenizer, which is given one word after another."""

    def __init__(self, tokenizer: PublishedTokenizer):
        self.tokenizer = tokenizer
        self.name, self.size = tokenizer.name, tokenizer.size
        self.fingerprint = tokenizer.fingerprint
        self.save = tokenizer.save

    def pieces(self, sentences: Sequence[Words], most: int) -> list[Pieces]:
        """Returns the pieces of each sentence, with those that the file puts around them. A word of
        signs that the tokenizer drops has none."""
        from tokenizers import Tokenizer

        tokenizer: Any = Tokenizer.from_str(_with_spaces(self.tokenizer.text))
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.enable_truncation(most)
        given = [list(words) for words in sentences]
        return [_of(one) for one in tokenizer.encode_batch(given, is_pretokenized=True)]


def _of(encoded: Any) -> Pieces:
    words = np.array([-1 if word is None else word for word in encoded.word_ids], np.int32)
    # Pieces of one word stand together.
    words[1:][(words[1:] == words[:-1])] = -1
    return Pieces(
        np.array(encoded.ids, np.int32),
        np.array(encoded.type_ids, np.int32),
        words,
        bool(encoded.overflowing),
    )


def _with_spaces(text: str) -> str:
    """Puts a space before each word for byte-level tokenizers, as RoBERTa's, which otherwise take
    words for the middle of one."""
    content = json.loads(text)
    if (content.get("pre_tokenizer") or {}).get("type") != "ByteLevel":
        return text
    content["pre_tokenizer"]["add_prefix_space"] = True
    return json.dumps(content)


def aligning_values(tokenizer: Any) -> dict[str, Any]:
    """Returns what `aligning_from` makes the same tokenizer of words of, as JSON values."""
    if isinstance(tokenizer, WordTokens):
        return {"words": list(tokenizer.words)}
    return tokenizer_values(tokenizer.tokenizer)


def aligning_from(values: Mapping[str, Any]) -> Aligning:
    """Inverts `aligning_values`."""
    if "words" in values:
        return WordTokens(tuple(values["words"]))
    return PieceTokens(tokenizer_from(values))
