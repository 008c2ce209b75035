"""Which tokenizer a text gets: one that is made for it and kept, or a published one."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxmodels.data.dataset import TRAIN
from jaxmodels.data.kept import kept
from jaxmodels.data.text.corpus import Texts
from jaxmodels.data.text.tokenizers import (
    Bytes,
    Tokenizer,
    characters_of,
    load_tokenizer,
    words_of,
)
from jaxmodels.errors import InputError, closest
from jaxmodels.files import is_path

TOKENIZERS = ("bytes", "chars", "bpe", "words")
_FEWEST = 257  # tokens of bpe: bytes and the end of a document
_MOST = 1 << 24
_COMPARED = 10_000  # characters


def require_tokenizer(name: str, vocabulary: int) -> None:
    """Requires the name of a tokenizer that can be made, or a path, and a size of its vocabulary.

    Raises:
      InputError: neither a known name nor a path, or a vocabulary out of range.
    """
    if name not in TOKENIZERS and not _is_file(name):
        raise InputError(
            f"tokenizer = {name}{closest(name, TOKENIZERS)} Expected {', '.join(TOKENIZERS)}, or a"
            " path to a tokenizer.json, as ./gpt2/tokenizer.json"
        )
    if not _FEWEST <= vocabulary <= _MOST:
        raise InputError(
            f"vocabulary = {vocabulary}; expected {_FEWEST} (all bytes and the end of a document)"
            f" to {_MOST:,}"
        )


def choose_tokenizer(
    name: str, texts: Mapping[str, Texts], kind: str, vocabulary: int, folder: Path
) -> Tokenizer:
    """Makes the tokenizer of a text at the first call, and keeps it in `folder`, which is that of
    the text; or reads a published one.

    name: that of the text. kind: one of TOKENIZERS, or a path. vocabulary: the size of bpe.

    Raises:
      InputError: a file that cannot be read, or a cache that cannot be written.
    """
    if kind not in TOKENIZERS:
        tokenizer = load_tokenizer(Path(kind).expanduser())
        _tell_if_lossy(tokenizer, texts[TRAIN])
        return tokenizer
    if kind == "bytes":
        return Bytes()
    kept_as = f"tokenizer-{kind}" + (f"-{vocabulary}" if kind == "bpe" else "")
    made = kept(
        folder / kept_as,
        lambda partial: _made(name, kind, vocabulary, texts).save(partial),
    )
    tokenizer = load_tokenizer(made)
    if kind == "bpe" and tokenizer.size < vocabulary:
        print(
            f"note: vocabulary = {vocabulary}; the training text of '{name}' has only"
            f" {tokenizer.size:,} tokens to learn",
            file=sys.stderr,
        )
    return tokenizer


def _made(name: str, kind: str, vocabulary: int, texts: Mapping[str, Texts]) -> Tokenizer:
    train = texts[TRAIN]
    print(f"making the tokenizer {kind} of {name}, once", file=sys.stderr)
    if kind == "words":
        return words_of(_strings(train))
    if kind == "chars":
        others = (
            text for split, some in texts.items() if split != TRAIN for text in _strings(some)
        )
        return characters_of(_strings(train), others, any(len(some) > 1 for some in texts.values()))
    from jaxmodels.data.text.bpe import train_bpe

    return train_bpe(train, vocabulary)


def _strings(texts: Texts) -> Iterator[str]:
    return (text for _, text, _ in texts.passages())


def _tell_if_lossy(tokenizer: Tokenizer, train: Texts) -> None:
    """Notes that a published tokenizer changes the text, because bits per byte are then too low."""
    text = next(_strings(train))[:_COMPARED]
    [tokens] = tokenizer.encode([text])
    if tokenizer.decode(tokens).strip() != text.strip():
        print(
            "note: the tokenizer does not give back the text that it is given (it changes letters,"
            " spaces or unknown words), so bits per byte do not compare with those of others",
            file=sys.stderr,
        )


def _is_file(name: str) -> bool:
    return is_path(name) or Path(name).expanduser().exists()
