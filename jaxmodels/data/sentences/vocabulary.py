"""Vocabularies of words, and of pieces of words and phrases, that a training split has."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxmodels.data.text.framing import Framed
from jaxmodels.data.text.tokenizers import tokenizer_from, tokenizer_values

UNKNOWN, SEPARATOR = 0, 1  # tokens of a word that training did not have, and between two texts
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_PHRASES = 3  # words of a phrase, at most
_PIECES = range(2, 7)  # characters of a piece of a word


def words_in(text: str) -> list[str]:
    """Divides a text into words and marks, in small letters."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class WordVocabulary:
    """Words by their numbers. A text is its words in order; between two texts is a separator."""

    words: tuple[str, ...]  # the first has the number 2
    name = "words"

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(self.words) + 2

    @property
    def fingerprint(self) -> str:
        """What changes when the tokens of a text do."""
        return _hash(self.words)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words, 2)}

    def framed(self, texts: Sequence[tuple[str, ...]], most: int) -> list[Framed]:
        """Returns the words of each text, or pair of texts, without those behind `most`."""
        return [self._framed(text, most) for text in texts]

    def _framed(self, texts: tuple[str, ...], most: int) -> Framed:
        tokens: list[int] = []
        segments: list[int] = []
        for number, text in enumerate(texts):
            found = [self._places.get(word, UNKNOWN) for word in words_in(text)]
            found = [SEPARATOR] * bool(number) + found
            tokens += found
            segments += [number] * len(found)
        cut = np.array(tokens[:most], np.int32), np.array(segments[:most], np.int32)
        return Framed(*cut, is_cut=len(tokens) > most)


@dataclass(frozen=True)
class PieceVocabulary:
    """Phrases of up to three words, and pieces of two to six characters of words, by their numbers.

    A text is the set of those that it has; "segments" tells phrases (0) and pieces (1) apart. What
    training did not have is left out.
    """

    features: tuple[str, ...]
    name = "pieces"

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(self.features)

    @property
    def fingerprint(self) -> str:
        """What changes when the tokens of a text do."""
        return _hash(self.features)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {feature: place for place, feature in enumerate(self.features)}

    def framed(self, texts: Sequence[tuple[str, ...]], most: int) -> list[Framed]:
        """Returns the numbers of what each text has, in order, without those behind `most`."""
        return [self._framed(text, most) for text in texts]

    def _framed(self, texts: tuple[str, ...], most: int) -> Framed:
        found = sorted(
            (self._places[feature], feature[0] == "c")
            for feature in features_of(texts)
            if feature in self._places
        )
        tokens = np.array([place for place, _ in found[:most]], np.int32)
        kinds = np.array([is_piece for _, is_piece in found[:most]], np.int32)
        return Framed(tokens, kinds, is_cut=len(found) > most)


def word_vocabulary(texts: Iterable[tuple[str, ...]], most: int) -> WordVocabulary:
    """Makes the vocabulary of the commonest words of texts; of equally common ones those that come
    first in the alphabet."""
    counts = Counter(word for text in texts for part in text for word in words_in(part))
    return WordVocabulary(_commonest(counts, most - 2))


def piece_vocabulary(texts: Iterable[tuple[str, ...]], most: int) -> PieceVocabulary:
    """Makes the vocabulary of all phrases of texts, and of pieces that two of them have. Of more
    than `most` the commonest are kept."""
    counts = Counter(feature for text in texts for feature in features_of(text))
    kept = {name: count for name, count in counts.items() if count > 1 or name[0] == "w"}
    return PieceVocabulary(_commonest(Counter(kept), most))


def features_of(texts: tuple[str, ...]) -> set[str]:
    """Returns the phrases ("w...") and pieces ("c...") of a text, or of a pair, where those of the
    second text are others."""
    return {
        f"{kind}{number}{feature}"
        for number, text in enumerate(texts)
        for kind, feature in _features(words_in(text))
    }


def _features(words: list[str]) -> Iterator[tuple[str, str]]:
    for count in range(1, _PHRASES + 1):
        for start in range(len(words) - count + 1):
            yield "w", " ".join(words[start : start + count])
    for word in set(words):
        ends = f" {word} "
        for count in _PIECES:
            for start in range(len(ends) - count + 1):
                yield "c", ends[start : start + count]


def _commonest(counts: Counter[str], most: int) -> tuple[str, ...]:
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    return tuple(ordered[:most])


def _hash(names: Sequence[str]) -> str:
    text = "\n".join(names).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16]


def vocabulary_values(tokenizer: Any) -> dict[str, Any]:
    """Returns what `vocabulary_from` makes the same vocabulary of, or the same published tokenizer,
    as JSON values."""
    if isinstance(tokenizer, WordVocabulary):
        return {"words": list(tokenizer.words)}
    if isinstance(tokenizer, PieceVocabulary):
        return {"features": list(tokenizer.features)}
    return tokenizer_values(tokenizer)


def vocabulary_from(values: Mapping[str, Any]) -> Any:
    """Inverts `vocabulary_values`."""
    if "words" in values:
        return WordVocabulary(tuple(values["words"]))
    if "features" in values:
        return PieceVocabulary(tuple(values["features"]))
    return tokenizer_from(values)
