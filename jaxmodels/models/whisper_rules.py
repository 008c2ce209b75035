"""How Whisper writes: the tokens that its texts begin with, and those that it never writes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxmodels.decoding import Rule, Step, search, without
from jaxmodels.decoding.beams import Found
from jaxmodels.errors import InputError
from jaxmodels.models.whisper import WhisperConfig

_START, _END, _TRANSCRIBE = "<|startoftranscript|>", "<|endoftext|>", "<|transcribe|>"
_NO_TIMES = "<|notimestamps|>"
_MULTILINGUAL = 51_865  # rows of tokens from which on a model knows several languages


class Writing(NamedTuple):
    """What Whisper's texts are framed by.

    prompt: the tokens that a text begins with: start, language and task where the model has several
      (Radford et al. 2023, section 2.3), and that it has no times.
    """

    prompt: tuple[int, ...]
    end: int
    suppressed: tuple[int, ...] = ()
    begin_suppressed: tuple[int, ...] = ()

    def rules(self) -> list[Rule]:
        """Makes the rules of what may come next."""
        return [without(self.suppressed), without(self.begin_suppressed, at=len(self.prompt))]

    def text_of(self, tokens: Sequence[int]) -> list[int]:
        """Returns the tokens of the text itself: without what it is framed by."""
        return [token for token in tokens[len(self.prompt) :] if token < self.end]


def writing_of(config: WhisperConfig, tokenizer: Any, rows: int) -> Writing:
    """Makes the frame of texts of a model with so many rows of tokens.

    tokenizer: has `token_of(text)`.

    Raises:
      InputError: a tokenizer that is not Whisper's, or a language that it does not know.
    """
    names = [_START]
    if rows >= _MULTILINGUAL:
        names += [f"<|{config.language}|>", _TRANSCRIBE]
    names += [_NO_TIMES, _END]
    tokens = [tokenizer.token_of(name) for name in names]
    for name, token in zip(names, tokens):
        if token is None:
            raise InputError(
                f"tokenizer has no {name}; expected Whisper's tokenizer.json, and a --language that"
                " it knows"
            )
    known: list[int] = [token for token in tokens if token is not None]
    return Writing(tuple(known[:-1]), known[-1], config.suppressed, config.begin_suppressed)


def written(step: Step, writing: Writing, count: int, most: int, beams: int = 1) -> Found:
    """Writes the texts of `count` sounds, as transformers' `generate` does.

    most: tokens of a text, its end included.
    """
    prompt = jnp.broadcast_to(jnp.array(writing.prompt, jnp.int32), (count, len(writing.prompt)))
    rules = writing.rules()
    return search(step, prompt, beams=beams, most=most, end=writing.end, rules=rules)


@dataclass(frozen=True, eq=False)
class Dictated:
    """Texts as Whisper writes them: with a space in front, framed.

    tokenizer: has `encode(texts)`, `decode(tokens)`, a size and a fingerprint.
    """

    tokenizer: Any
    writing: Writing
    name = "whisper"

    @property
    def size(self) -> int:
        """The number of tokens."""
        return self.tokenizer.size

    @property
    def fingerprint(self) -> str:
        """What changes when the tokens of a text do."""
        frame = repr(self.writing).encode()
        return hashlib.sha256(self.tokenizer.fingerprint.encode() + frame).hexdigest()[:16]

    def encode(self, text: str) -> Int[np.ndarray, " token"]:
        """Returns the frame and the tokens of a text."""
        (tokens,) = self.tokenizer.encode([f" {text}"])
        whole = [*self.writing.prompt, *tokens.tolist(), self.writing.end]
        return np.array(whole, np.int32)

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of tokens, without its frame."""
        return self.tokenizer.decode(self.writing.text_of(tokens)).strip()
