"""Words of documents and summaries, of which those that the vocabulary lacks can be copied.

A word of a document that the vocabulary lacks has the number size + place, where the place is that
of its first occurrence in the document (See et al. 2017, section 2.2, "extended vocabulary"). So
summaries can have words that no training document has.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

PADDING, UNKNOWN, START, END = range(4)
_OWN = 4  # tokens that are no words
WORD = re.compile(r"\d+(?:[.,:]\d+)+|\w+(?:[-'’./]\w+)*|[^\w\s]")
_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%’”")
_NO_SPACE_AFTER = frozenset("([{“‘$#")

Words = Sequence[str]


def words_of(text: str, lower: bool = False) -> list[str]:
    """Divides a text into words, numbers and marks."""
    return WORD.findall(text.lower() if lower else text)


def joined(words: Iterable[str]) -> str:
    """Joins words and marks to a text, with spaces where English has them."""
    text, before, quoted = "", "", False
    for word in words:
        closes = word == '"' and quoted
        opened = before in _NO_SPACE_AFTER or (before == '"' and quoted)
        space = text and not (word[0] in _NO_SPACE_BEFORE or closes or opened)
        quoted ^= word == '"'
        text, before = text + " " * bool(space) + word, word
    return text


@dataclass(frozen=True)
class CopyVocabulary:
    """Words by their numbers, behind those of padding, an unknown word, the start and the end."""

    words: tuple[str, ...]
    lower: bool = False
    name = "words"

    @property
    def size(self) -> int:
        """The number of tokens without those that are copied."""
        return len(self.words) + _OWN

    @property
    def fingerprint(self) -> str:
        """What changes when the tokens of a text do."""
        text = "\n".join((str(self.lower), *self.words)).encode("utf-8", "surrogatepass")
        return hashlib.sha256(text).hexdigest()[:16]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, _OWN)}

    def divided(self, text: str) -> list[str]:
        """Divides a text into its words."""
        return words_of(text, self.lower)

    def source(self, document: Words) -> tuple[Int[np.ndarray, " word"], Int[np.ndarray, " word"]]:
        """Returns the numbers of a document's words, where those that the vocabulary lacks are
        UNKNOWN, and their numbers in the extended vocabulary."""
        known = np.array([self._numbers.get(word, UNKNOWN) for word in document], np.int32)
        own = self._own(document)
        extended = [own.get(word, number) for word, number in zip(document, known.tolist())]
        return known, np.array(extended, np.int32)

    def target(self, summary: Words, document: Words) -> Int[np.ndarray, " word"]:
        """Returns the numbers of a summary's words in the extended vocabulary of a document."""
        own = self._own(document)
        numbers = [self._numbers.get(word, own.get(word, UNKNOWN)) for word in summary]
        return np.array(numbers, np.int32)

    def text(self, tokens: Sequence[int], document: Words) -> str:
        """Returns the text of tokens up to the end; a token behind the vocabulary is the word at
        that place of the document."""
        words = []
        for token in tokens:
            if token == END:
                break
            if token >= self.size:
                words.append(document[token - self.size])
            elif token >= _OWN:
                words.append(self.words[token - _OWN])
            elif token == UNKNOWN:
                words.append("<unk>")
        return joined(words)

    def _own(self, document: Words) -> dict[str, int]:
        """Numbers the words of a document that the vocabulary lacks."""
        own: dict[str, int] = {}
        for place, word in enumerate(document):
            if word not in self._numbers:
                own.setdefault(word, self.size + place)
        return own


def copy_vocabulary(
    texts: Iterable[Iterable[str]], most: int, rare: int, lower: bool
) -> CopyVocabulary:
    """Makes the vocabulary of the commonest words; of equally common ones those that come first in
    the alphabet.

    texts: those of each document, with its summaries.
    rare: words of fewer documents are left out.
    """
    counts: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for some in texts:
        words = [word for text in some for word in words_of(text, lower)]
        counts.update(words)
        documents.update(set(words))
    kept = [word for word in counts if documents[word] >= rare]
    ordered = sorted(kept, key=lambda word: (-counts[word], word))
    return CopyVocabulary(tuple(ordered[: most - _OWN]), lower)
