"""Byte-pair encoding by the `tokenizers` library: trained on a text, or from a published file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.text.corpus import Texts
from jaxmodels.data.text.framing import Framed
from jaxmodels.data.text.gguf_tokenizer import tokenizer_files
from jaxmodels.data.text.tokenizers import CONFIG, FILE, AnyTokens, Tokens, hash_of
from jaxmodels.errors import InputError
from jaxmodels.files import write_text
from jaxmodels.pretrained.opening import open_weights

END = "<|endoftext|>"
MOST_LEARNED = 1 << 30  # bytes of training text, evenly spread, that a vocabulary is learned from
# Names of the token at the end of a document in published files, the most definite first.
_ENDS = (END, "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]", "<sep>")
# Instruct models name these as their end, but they end a turn, not a document.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>")


class PublishedTokenizer:
    """A tokenizer of the `tokenizers` library. Its special tokens are not made of text, so that a
    document cannot pretend to end.

    text: the content of its `tokenizer.json`. end: the token between documents. config: the content
    of the `tokenizer_config.json` beside it, which names its ends and how to chat.
    """

    def __init__(
        self, text: str, name: str, end: int | None, config: Mapping[str, Any] | None = None
    ):
        self.text, self.name, self.end = text, name, end
        self.config = dict(config or {})
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

    def framed(self, texts: Sequence[tuple[str, ...]], most: int) -> list[Framed]:
        """Returns the tokens of texts, or of pairs, with those that the file puts around them, as
        [CLS] and [SEP]. Of more than `most` tokens the end of the longer text is cut off."""
        from tokenizers import Tokenizer

        tokenizer: Any = Tokenizer.from_str(self.text)
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.enable_truncation(most, strategy="longest_first")
        given = [text if len(text) > 1 else "".join(text) for text in texts]
        return [
            Framed(
                np.array(one.ids, np.int32), np.array(one.type_ids, np.int32), bool(one.overflowing)
            )
            for one in tokenizer.encode_batch(given)
        ]

    def decode(self, tokens: AnyTokens) -> str:
        """Returns the text of tokens."""
        kept = [int(token) for token in tokens if int(token) != self.end]
        return self._tokenizer.decode(kept, skip_special_tokens=False)

    @property
    def padding(self) -> int | None:
        """The token that the config beside the file calls padding."""
        named = self.config.get("pad_token")
        named = named.get("content") if isinstance(named, dict) else named
        return self.token_of(named) if isinstance(named, str) else None

    def token_of(self, text: str) -> int | None:
        """Returns the token of this very text, special or not; None: there is none."""
        return self._tokenizer.token_to_id(text)

    def word(self, token: int) -> str:
        """Returns a token of the vocabulary as it stands there."""
        return self._tokenizer.id_to_token(token)

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json`, and `tokenizer_config.json` if there was one."""
        write_text(folder / FILE, self.text)
        if self.config:
            write_text(folder / CONFIG, json.dumps(self.config, indent=1) + "\n")

    def __getstate__(self) -> dict:
        kept = ("text", "name", "end", "size", "config")
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


def from_gguf(file: Path) -> PublishedTokenizer:
    """Makes the tokenizer of a GGUF file.

    Raises:
      InputError: the file cannot be read, or its tokenizer is of another kind.
    """
    return published_of(file, *tokenizer_files(open_weights(file).config))


def published_of(file: Path, text: str, config: Mapping[str, Any]) -> PublishedTokenizer:
    """Makes a tokenizer of the contents of its files. The end of a document is what the config
    calls so, unless that ends a turn, or the first usual name that the tokenizer has.

    file: for messages.

    Raises:
      InputError: the library does not read it.
    """
    try:
        trained = _is_trained_here(json.loads(text))
        tokenizer = PublishedTokenizer(text, "bpe" if trained else "file", None, config)
    except Exception as error:  # the library raises Exception itself
        raise InputError(
            f"tokenizer = {file}; the library tokenizers cannot read it: {error}; expected a"
            f" {FILE} of it"
        ) from None
    tokenizer.end = _end_of(tokenizer)
    return tokenizer


def _is_trained_here(content: dict[str, Any]) -> bool:
    added = content.get("added_tokens") or [{}]
    return len(added) == 1 and (added[0].get("id"), added[0].get("content")) == (0, END)


def _end_of(tokenizer: PublishedTokenizer) -> int | None:
    named = tokenizer.config.get("eos_token")
    if isinstance(named, dict):
        named = named.get("content")
    names = (*_ENDS, named) if named in _TURN_ENDS else (named, *_ENDS)
    tokens = [tokenizer.token_of(name) for name in names if isinstance(name, str)]
    return next((token for token in tokens if token is not None), None)
