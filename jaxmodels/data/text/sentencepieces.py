"""Published tokenizers of the `sentencepiece` library (Kudo & Richardson 2018): the `spiece.model`
of T5, and Marian's `source.spm` and `target.spm` with their common `vocab.json`."""

import base64
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.text.tokenizers import CONFIG, FILE, AnyTokens, Tokens, hash_of, kept_text
from jaxmodels.errors import InputError
from jaxmodels.files import read_json, write_json, write_text
from jaxmodels.pretrained.weights import readable

KIND = "sentencepiece"
SUFFIXES = (".model", ".spm")
SOURCE, TARGET, VOCABULARY, ALONE = "source.spm", "target.spm", "vocab.json", "spiece.model"
END, PADDING, UNKNOWN = "</s>", "<pad>", "<unk>"
_SENTINELS = 100  # of T5: its models have so many tokens for spans that were left out
_LANGUAGE = re.compile(r">>.+?<<")  # of the target, at the start of a source


class SentencePieces:
    """One or two models of sentencepiece and the numbers of their pieces.

    Nothing of a text becomes a special token, but a language of the target at its start, as
    >>fra<<, where the vocabulary has it.

    source: the content of the file for what is read. target: for what is written; None: the same.
    words: the pieces by their tokens, as `vocab.json` has them; None: those of the model itself.
    sentinels: how many tokens T5 has behind those of its model.
    """

    name = KIND

    def __init__(
        self,
        source: bytes,
        target: bytes | None = None,
        words: Sequence[str] | None = None,
        sentinels: int = 0,
    ):
        self.source, self.target, self.sentinels = source, target, sentinels
        self.words = None if words is None else tuple(words)
        pieces = self._reader.get_piece_size() if self.words is None else len(self.words)
        self.size = pieces + sentinels
        self.end, self.padding = (self.token_of(name) for name in (END, PADDING))

    @cached_property
    def _reader(self) -> Any:
        return _processor(self.source)

    @cached_property
    def _writer(self) -> Any:
        return self._reader if self.target is None else _processor(self.target)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.words or ())}

    @property
    def text(self) -> str:
        """The file of the house."""
        return kept_text(
            KIND,
            source=base64.b64encode(self.source).decode(),
            target=None if self.target is None else base64.b64encode(self.target).decode(),
            words=self.words,
            sentinels=self.sentinels,
        )

    @property
    def fingerprint(self) -> str:
        """A hash of the file."""
        return hash_of(self.text)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of texts that are read."""
        return [self._with_language(text) for text in texts]

    def encode_targets(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of texts that are to be written."""
        return [self._encoded(self._writer, text) for text in texts]

    def _with_language(self, text: str) -> Tokens:
        named = _LANGUAGE.match(text)
        language = self._places.get(named.group()) if named else None
        if named is None or language is None:
            return self._encoded(self._reader, text)
        return np.append(np.int32(language), self._encoded(self._reader, text[named.end() :]))

    def _encoded(self, processor: Any, text: str) -> Tokens:
        if self.words is None:
            return np.array(processor.encode(text), np.int32)
        unknown = self._places.get(UNKNOWN, 0)
        pieces = processor.encode(text, out_type=str)
        return np.array([self._places.get(piece, unknown) for piece in pieces], np.int32)

    def decode(self, tokens: AnyTokens) -> str:
        """Returns the text of tokens that were written; the end, padding and what is no token of
        the vocabulary are nothing."""
        dropped = (self.end, self.padding)
        kept = [int(token) for token in tokens if int(token) not in dropped and token < self.size]
        return self._writer.decode_pieces([self.word(token) for token in kept])

    def token_of(self, text: str) -> int | None:
        """Returns the token of this very piece; None: there is none."""
        if self.words is not None:
            return self._places.get(text)
        token = self._reader.piece_to_id(text)
        return token if self._reader.id_to_piece(token) == text else None

    def word(self, token: int) -> str:
        """Returns a token of the vocabulary as it stands there."""
        if self.words is not None:
            return self.words[token]
        pieces = self._reader.get_piece_size()
        # The last of T5's is number 0.
        return self._reader.id_to_piece(token) if token < pieces else self._sentinel(token)

    def _sentinel(self, token: int) -> str:
        return f"<extra_id_{self.size - 1 - token}>"

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json`, which only `load_tokenizer` reads."""
        write_text(folder / FILE, self.text)

    def save_published(self, folder: Path) -> None:
        """Writes the files that it was read from, for transformers."""
        folder.joinpath(ALONE if self.words is None else SOURCE).write_bytes(self.source)
        if self.words is None:
            write_json(folder / CONFIG, {"extra_ids": self.sentinels})
            return
        folder.joinpath(TARGET).write_bytes(self.source if self.target is None else self.target)
        write_json(folder / VOCABULARY, {word: token for token, word in enumerate(self.words)})

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name[0] != "_"}


def is_sentencepiece(path: Path) -> bool:
    """Whether a file, or what lies in a folder without tokenizer.json, is of sentencepiece."""
    if not path.is_dir():
        return path.suffix in SUFFIXES
    if (path / FILE).is_file():
        return False
    return any((path / name).is_file() for name in (SOURCE, ALONE))


def load_sentencepiece(path: Path) -> SentencePieces:
    """Reads a model, or what lies in a folder: T5's, or Marian's models and vocabulary.

    Raises:
      InputError: a file is missing or damaged.
    """
    if path.is_dir() and (path / SOURCE).is_file():
        words = _words(path / VOCABULARY)
        return _made(path, _content(path / SOURCE), _content(path / TARGET), words)
    file = path / ALONE if path.is_dir() else path
    config = read_json(file.with_name(CONFIG))
    usual = _SENTINELS if file.name == ALONE else 0
    sentinels = config.get("extra_ids", usual) if isinstance(config, dict) else usual
    return _made(path, _content(file), None, None, sentinels)


def kept_sentencepiece(path: Path, values: Mapping[str, Any]) -> SentencePieces:
    """Makes the tokenizer that `SentencePieces.save` wrote."""
    target = values["target"]
    return _made(
        path,
        base64.b64decode(values["source"]),
        None if target is None else base64.b64decode(target),
        values["words"],
        values["sentinels"],
    )


def _made(path: Path, *parts: Any) -> SentencePieces:
    with readable(path, KIND):
        tokenizer = SentencePieces(*parts)
        # Both read the models.
        tokenizer.encode([""])
        tokenizer.decode([])
    if tokenizer.end is None:
        raise InputError(f"tokenizer = {path}; it has no {END}; expected one that ends texts by it")
    return tokenizer


def _processor(model: bytes) -> Any:
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_proto=model)


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise InputError(f"tokenizer = {file} does not exist; expected a model of {KIND}")
    return file.read_bytes()


def _words(file: Path) -> tuple[str, ...]:
    """Reads pieces by their tokens, which are 0, 1, ... without a gap."""
    places = read_json(file)
    if not isinstance(places, dict) or sorted(places.values()) != list(range(len(places))):
        raise InputError(
            f"tokenizer = {file}; expected an object of pieces and their numbers, without gaps"
        )
    return tuple(sorted(places, key=places.__getitem__))
