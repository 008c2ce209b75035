"""Byte-pair encoding by the `tokenizers` library: trained on a text, or from a published file."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.text.corpus import Texts
from jaxmodels.data.text.tokenizers import FILE, AnyTokens, Tokens, hash_of
from jaxmodels.errors import InputError
from jaxmodels.files import read_json, write_text

END = "<|endoftext|>"
FEWEST = 257  # bytes and the end of a document
MOST_LEARNED = 1 << 30  # bytes of training text, evenly spread, that a vocabulary is learned from
# Names of the token at the end of a document in published files, the most definite first.
_ENDS = (END, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]", "<sep>")


class PublishedTokenizer:
    """A tokenizer of the `tokenizers` library. Its special tokens are not made of text, so that a
    document cannot pretend to end.

    text: the content of its `tokenizer.json`. end: the token between documents.
    """

    def __init__(self, text: str, name: str, end: int | None):
        self.text, self.name, self.end = text, name, end
        self.size = self._tokenizer.get_vocab_size(with_added_tokens=True)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.text)
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @property
    def fingerprint(self) -> str:
        """A hash of the file."""
        return hash_of(self.text)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of each text, by all cores."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int32) for one in encoded]

    def decode(self, tokens: AnyTokens) -> str:
        """Returns the text of tokens."""
        kept = [int(token) for token in tokens if int(token) != self.end]
        return self._tokenizer.decode(kept, skip_special_tokens=False)

    def word(self, token: int) -> str:
        """Returns a token of the vocabulary as it stands there."""
        return self._tokenizer.id_to_token(token)

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json`."""
        write_text(folder / FILE, self.text)

    def __getstate__(self) -> dict:
        kept = ("text", "name", "end", "size")
        return {name: value for name, value in self.__dict__.items() if name in kept}


def train_bpe(texts: Texts, vocabulary: int) -> PublishedTokenizer:
    """Learns a byte-level vocabulary as GPT-2's (Radford et al. 2019, section 2.2): its division
    into words, 256 bytes, `<|endoftext|>` as token 0, and merges. The same text gives the same file
    each time.

    vocabulary: its size; a short text may have fewer merges.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_learned_from(texts), trainer)
    return PublishedTokenizer(tokenizer.to_str(pretty=True) + "\n", "bpe", 0)


def _learned_from(texts: Texts) -> Iterator[list[str]]:
    """Yields the passages to learn from: all, or evenly spread ones of a large text."""
    share = min(1.0, MOST_LEARNED / max(texts.size, 1))
    due = 0.0
    for batch in texts.batches():
        due += share
        if due >= 1 - 1e-9:
            due -= 1
            yield [text for _, text, _ in batch]


def published(file: Path, text: str) -> PublishedTokenizer:
    """Makes the tokenizer of a published file. The end of a document is what the
    `tokenizer_config.json` beside it calls so, or the first usual name that it has.

    Raises:
      InputError: the library does not read it.
    """
    try:
        trained = _is_trained_here(json.loads(text))
        tokenizer = PublishedTokenizer(text, "bpe" if trained else "file", None)
    except Exception as error:  # the library raises Exception itself
        raise InputError(
            f"tokenizer = {file}; the library tokenizers cannot read it: {error}; expected a"
            f" {FILE} of it"
        ) from None
    tokenizer.end = _end_of(tokenizer, file)
    return tokenizer


def _is_trained_here(content: dict[str, Any]) -> bool:
    added = content.get("added_tokens") or [{}]
    return len(added) == 1 and (added[0].get("id"), added[0].get("content")) == (0, END)


def _end_of(tokenizer: PublishedTokenizer, file: Path) -> int | None:
    config = read_json(file.with_name("tokenizer_config.json"))
    named = config.get("eos_token") if isinstance(config, dict) else None
    if isinstance(named, dict):
        named = named.get("content")
    for name in (named, *_ENDS):
        if isinstance(name, str):
            token = tokenizer._tokenizer.token_to_id(name)
            if token is not None:
                return token
    return None
