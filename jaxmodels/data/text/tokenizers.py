"""Tokenizers: what turns text into numbers and back, as files that a run can keep.

A tokenizer is one file, `tokenizer.json`. That of `bpe` is the format of the `tokenizers` library,
which transformers reads; those of the others begin with their kind.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int, Integer

from jaxmodels.errors import InputError
from jaxmodels.files import read_json, write_text

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
_KIND = "jaxmodels_tokenizer"
_BYTES = 256

Tokens = Int[np.ndarray, " token"]
AnyTokens = Sequence[int] | Integer[np.ndarray, " token"]


@runtime_checkable
class Tokenizer(Protocol):
    """Text to tokens and back."""

    @property
    def name(self) -> str:
        """The kind: "bytes", "chars", "words", "bpe" or, of a published file, "file" or
        "sentencepiece"."""
        ...

    @property
    def size(self) -> int:
        """The size of the vocabulary."""
        ...

    @property
    def end(self) -> int | None:
        """The token between documents."""
        ...

    @property
    def fingerprint(self) -> str:
        """What changes when the tokens of a text do."""
        ...

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of each text, int32, without any that are put around it."""
        ...

    def decode(self, tokens: AnyTokens) -> str:
        """Returns the text of tokens; bytes that are no UTF-8 become U+FFFD, and the end of a
        document nothing."""
        ...

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json`."""
        ...


class _Kept(ABC):
    """A tokenizer that is its kind and some values."""

    name = ""

    @property
    @abstractmethod
    def values(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values."""

    @property
    def text(self) -> str:
        """The file of the tokenizer."""
        return kept_text(self.name, **self.values)

    @property
    def fingerprint(self) -> str:
        """A hash of the file."""
        return hash_of(self.text)

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json`."""
        write_text(folder / FILE, self.text)


class Bytes(_Kept):
    """The bytes of UTF-8, and a token for the end of a document."""

    name = "bytes"
    size, end = _BYTES + 1, _BYTES

    @property
    def values(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the bytes of each text."""
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]

    def decode(self, tokens: AnyTokens) -> str:
        """Returns the text of bytes."""
        return _text_of(token for token in np.asarray(tokens, np.int64).tolist() if token < _BYTES)


@dataclass(frozen=True)
class Characters(_Kept):
    """The characters of a training text.

    fallback: characters that are not in the alphabet become their bytes, which are tokens of their
      own; otherwise they are refused. documents: there is a token for the end of a document.
    """

    alphabet: str  # in the order of their code points
    fallback: bool
    documents: bool
    name = "chars"

    @property
    def values(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values."""
        return {
            "alphabet": self.alphabet,
            "fallback": self.fallback,
            "documents": self.documents,
        }

    @property
    def size(self) -> int:
        """The size of the vocabulary."""
        return len(self.alphabet) + _BYTES * self.fallback + self.documents

    @property
    def end(self) -> int | None:
        """The token between documents."""
        return self.size - 1 if self.documents else None

    @cached_property
    def _points(self) -> np.ndarray:
        return _code_points(self.alphabet)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the places of characters in the alphabet.

        Raises:
          InputError: a character that is not in the alphabet, without the fallback.
        """
        return [self._encoded(text) for text in texts]

    def _encoded(self, text: str) -> Tokens:
        points = _code_points(text)
        if not len(self._points) and len(points):
            return self._by_bytes(text, np.zeros(len(points), np.int32), np.ones(len(points), bool))
        places = np.searchsorted(self._points, points)
        places = np.minimum(places, max(0, len(self._points) - 1)).astype(np.int32)
        unknown = self._points[places] != points if len(points) else np.zeros(0, bool)
        return self._by_bytes(text, places, unknown) if unknown.any() else places

    def _by_bytes(
        self,
        text: str,
        places: Int[np.ndarray, " character"],
        unknown: Bool[np.ndarray, " character"],
    ) -> Tokens:
        if not self.fallback:
            first = text[int(unknown.argmax())]
            raise InputError(
                f"the text has the character {first!r} (U+{ord(first):04X}), which no text had that"
                " the tokenizer 'chars' was made for; expected others, or --tokenizer bytes"
            )
        parts = []
        for start, stop, is_unknown in _runs(unknown):
            if is_unknown:
                encoded = np.frombuffer(text[start:stop].encode(), np.uint8)
                parts.append(encoded.astype(np.int32) + len(self.alphabet))
            else:
                parts.append(places[start:stop])
        return np.concatenate(parts)

    def decode(self, tokens: AnyTokens) -> str:
        """Returns the text of tokens."""
        tokens = np.asarray(tokens, np.int64)
        tokens = tokens[tokens != self.end] if self.documents else tokens
        parts = []
        for start, stop, are_bytes in _runs(tokens >= len(self.alphabet)):
            if are_bytes:
                parts.append(_text_of((tokens[start:stop] - len(self.alphabet)).tolist()))
            else:
                parts.append("".join(self.alphabet[token] for token in tokens[start:stop].tolist()))
        return "".join(parts)


@dataclass(frozen=True)
class Words(_Kept):
    """Words that white space divides, and `<eos>` for each end of a line, as WikiText-2 and Penn
    Treebank are read (Merity et al. 2018, awd-lstm-lm/data.py). A word that is not in the
    vocabulary is `<unk>`. Decoding gives one space between words.
    """

    vocabulary: tuple[str, ...]  # "<eos>" is the first
    name = "words"
    end = 0

    @property
    def values(self) -> dict[str, Any]:
        """What makes the tokenizer, as JSON values."""
        return {"vocabulary": list(self.vocabulary)}

    @property
    def size(self) -> int:
        """The size of the vocabulary."""
        return len(self.vocabulary)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.vocabulary)}

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the places of words in the vocabulary.

        Raises:
          InputError: an unknown word, and a vocabulary without `<unk>`.
        """
        return [self._encoded(text) for text in texts]

    def _encoded(self, text: str) -> Tokens:
        places, unknown = self._places, self._places.get("<unk>")
        tokens: list[Any] = []
        for number, line in enumerate(text.split("\n")):
            if number:
                tokens.append(self.end)
            tokens += [places.get(word, unknown) for word in line.split()]
        if unknown is None and None in tokens:
            word = next(word for word in text.split() if word not in places)
            raise InputError(
                f"tokenizer = words; the text has the word {word!r}, which the training text lacks,"
                " and no <unk> stands for it: expected a corpus that has fixed its words, as"
                " WikiText, or --tokenizer bpe"
            )
        return np.array(tokens, np.int32)

    def decode(self, tokens: AnyTokens) -> str:
        """Returns words with a space between them, in lines."""
        words = ("\n" if token == self.end else self.vocabulary[token] for token in tokens)
        return " ".join(words).replace(" \n", "\n").replace("\n ", "\n")


def characters_of(
    train: Iterable[str], others: Iterable[str], several_documents: bool
) -> Characters:
    """Makes the tokenizer of the characters of a training text. There are tokens for bytes if other
    texts have further characters."""
    alphabet: set[str] = set()
    for text in train:
        alphabet.update(text)
    fallback = any(not alphabet.issuperset(text) for text in others)
    return Characters("".join(sorted(alphabet)), fallback, several_documents)


def words_of(train: Iterable[str]) -> Words:
    """Makes the tokenizer of the words of a training text, in the order in which they appear."""
    vocabulary = {"<eos>": None}
    for text in train:
        vocabulary.update(dict.fromkeys(text.split()))
    return Words(tuple(vocabulary))


def load_tokenizer(path: Path) -> Tokenizer:
    """Reads a tokenizer that was saved, a published `tokenizer.json`, models of sentencepiece, or
    that of a GGUF file.

    path: the file, or its folder.

    Raises:
      InputError: there is none, or none that can be read.
    """
    from jaxmodels.data.text import sentencepieces

    if sentencepieces.is_sentencepiece(path):
        return sentencepieces.load_sentencepiece(path)
    file = path / FILE if path.is_dir() else path
    if file.suffix == ".gguf":
        from jaxmodels.data.text.bpe import from_gguf

        return from_gguf(file)
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None
    return tokenizer_of(text, read_json(file.with_name(CONFIG)), file)


def tokenizer_of(text: str, config: Any, file: Path) -> Tokenizer:
    """Makes the tokenizer of the content of a tokenizer.json.

    config: the content of the tokenizer_config.json beside it, or what is none. file: for errors.

    Raises:
      InputError: it cannot be read.
    """
    from jaxmodels.data.text import sentencepieces

    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, error) from None
    kind = content.pop(_KIND, None)
    try:
        if kind == "bytes":
            return Bytes()
        if kind == "chars":
            return Characters(**content)
        if kind == "words":
            return Words(tuple(content["vocabulary"]))
        if kind == sentencepieces.KIND:
            return sentencepieces.kept_sentencepiece(file, content)
    except (TypeError, KeyError) as error:
        raise InputError(f"tokenizer = {file}; it is damaged: {error}; copy it anew") from None
    from jaxmodels.data.text.bpe import published_of

    return published_of(file, text, config if isinstance(config, dict) else {})


def tokenizer_values(tokenizer: Any) -> dict[str, Any]:
    """Returns what `tokenizer_from` makes the same tokenizer of, as JSON values."""
    return {"text": tokenizer.text, "config": getattr(tokenizer, "config", {})}


def tokenizer_from(values: Mapping[str, Any]) -> Any:
    """Inverts `tokenizer_values`."""
    return tokenizer_of(values["text"], values["config"], Path(FILE))


def _unreadable(file: Path, error: Exception) -> InputError:
    return InputError(
        f"tokenizer = {file}; it cannot be read: {error}; expected a {FILE} or a folder with one"
    )


def kept_text(kind: str, **values: Any) -> str:
    """Makes the file of a tokenizer that is its kind and some values."""
    return json.dumps({_KIND: kind, **values}, indent=1) + "\n"


def hash_of(text: str) -> str:
    """Hashes the file of a tokenizer: 16 digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _text_of(tokens: Iterable[int]) -> str:
    return bytes(tokens).decode("utf-8", "replace")


def _runs(mask: np.ndarray) -> Iterator[tuple[int, int, bool]]:
    """Yields begin, end and value of each run of equal values."""
    edges = np.flatnonzero(np.diff(mask)) + 1
    for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(mask)]):
        if stop > start:
            yield start, stop, bool(mask[start])
