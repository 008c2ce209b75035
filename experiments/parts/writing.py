"""What a language model writes: in --mode sample, and for the report over training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Int

from jaxmodels.data.text import Tokenizer
from jaxmodels.data.text.chat import Turn, chat_of
from jaxmodels.decoding import Choice
from jaxmodels.errors import InputError
from jaxmodels.train import Role, require_range

_NO_CHAT = "write what its turns look like into --prompt, without --chat"


@dataclass(frozen=True, kw_only=True)
class WritingConfig:
    """How --mode sample writes, and the texts of the report."""

    prompt: Annotated[tuple[str, ...], Role.VERB] = ()
    """Beginnings of texts, each continued --count times; none: a new document."""
    length: Annotated[int, Role.VERB] = 200
    """Most tokens that a text gets."""
    temperature: Annotated[float, Role.HOW] = 0.8
    """Divides the logits; 0: the likeliest token is chosen."""
    top_k: Annotated[int, Role.HOW] = 0
    """Draw from so many of the likeliest tokens; 0: all."""
    top_p: Annotated[float, Role.HOW] = 0.95
    """Draw from the likeliest tokens that together have this probability."""
    min_p: Annotated[float, Role.HOW] = 0.0
    """Draw from tokens at least this share as likely as the likeliest."""
    repetition_penalty: Annotated[float, Role.HOW] = 1.0
    """Divides positive logits of tokens that the text has already; multiplies negative ones."""
    stop: Annotated[tuple[str, ...], Role.VERB] = ()
    """Strings before which a text ends."""
    chat: Annotated[bool, Role.VERB] = False
    """A prompt is what a user says to an instruct model, which answers; the end of its turn ends
    the text."""
    system: Annotated[str | None, Role.VERB] = None
    """With --chat, what the model is told before; None: what its template says."""

    def validate(self) -> None:
        """Raises InputError for numbers out of range."""
        require_range(self, ("temperature",))
        for name, least in (("length", 1), ("top_k", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least {least}")
        if not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise InputError(
                f"top_p = {self.top_p}, min_p = {self.min_p}; expected 0 < top_p <= 1 and"
                " 0 <= min_p <= 1"
            )
        if not 0 < self.repetition_penalty < float("inf"):
            raise InputError(f"repetition_penalty = {self.repetition_penalty}; expected above 0")
        for text in (*self.prompt, *self.stop, self.system or ""):
            # A terminal gives bytes that are no UTF-8 as halves of surrogate pairs.
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise InputError(f"prompt, stop or system = {text!r}; expected UTF-8")
        if self.chat and not self.prompt:
            raise InputError("chat = True; expected what to answer, as --prompt 'What is rain?'")
        if self.system is not None and not self.chat:
            raise InputError(f"system = {self.system}; expected --chat beside it")

    @property
    def choice(self) -> Choice:
        """The numbers of a choice."""
        return Choice(
            np.float32(self.temperature),
            np.int32(self.top_k),
            np.float32(self.top_p),
            np.float32(self.min_p),
            np.float32(self.repetition_penalty),
        )


def conditions_of(
    config: WritingConfig, tokenizer: Tokenizer, prompts: Sequence[Int[np.ndarray, " token"]]
) -> dict[str, Any]:
    """Makes the conditions of `LanguageModel.sample`: a row for each prompt, which is not empty."""
    end = chat_of(tokenizer, _NO_CHAT).end if config.chat else tokenizer.end
    longest = max(map(len, prompts))
    tokens = np.zeros((len(prompts), longest + config.length), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    return {
        "tokens": tokens,
        "length": np.array([len(prompt) for prompt in prompts], np.int32),
        "choice": config.choice,
        "end": np.int32(-1 if end is None else end),
    }


def prompts_of(
    config: WritingConfig, tokenizer: Tokenizer, count: int
) -> list[Int[np.ndarray, " token"]]:
    """Encodes the prompts, each `count` times. The end of a document stands before them, as it does
    in training; in a chat, they are a user's turn.

    Raises:
      InputError: a prompt that the tokenizer refuses, an empty one without such a token, or a chat
        with a model that knows none.
    """
    encoded = []
    if config.chat:
        chat, told = chat_of(tokenizer, _NO_CHAT), config.system
        system = [] if told is None else [Turn("system", told)]
        return [
            chat.tokens([*system, Turn("user", prompt)])
            for prompt in config.prompt
            for _ in range(count)
        ]
    for prompt in config.prompt or ("",):
        tokens = tokenizer.encode([prompt])[0].tolist() if prompt else []
        if tokenizer.end is not None:
            tokens = [tokenizer.end, *tokens]
        if not tokens:
            raise InputError(
                f"prompt = {config.prompt}; documents of this run have no end that could begin a"
                " new one: name a beginning, as --prompt TEXT"
            )
        encoded += [np.array(tokens, np.int32)] * count
    return encoded


def texts_of(
    config: WritingConfig,
    tokenizer: Tokenizer,
    conditions: Mapping[str, Any],
    tokens: Int[np.ndarray, "count room"],
    length: Int[np.ndarray, " count"],
) -> list[tuple[str, str]]:
    """Decodes each prompt and what was written behind it, up to a string that stops it. The prompt
    of a chat is what the user said, and a line break."""
    found = []
    for row, start in enumerate(conditions["length"].tolist()):
        stop = min(int(length[row]), start + config.length)
        if config.chat:
            if stop > start and tokens[row, stop - 1] == conditions["end"]:
                stop -= 1
            said = config.prompt[row * len(config.prompt) // len(tokens)]
            text = tokenizer.decode(tokens[row, start:stop])
            found.append((f"{said}\n", _stopped(text, config.stop)))
            continue
        prompt = tokenizer.decode(tokens[row, :start])
        whole = tokenizer.decode(tokens[row, :stop])
        if whole.startswith(prompt):
            text = whole[len(prompt) :]
        else:  # the prompt ends within a character
            text = tokenizer.decode(tokens[row, start:stop])
        found.append((prompt, _stopped(text, config.stop)))
    return found


def _stopped(text: str, stops: Sequence[str]) -> str:
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def added(texts: Iterator[list[tuple[str, str]]]) -> Iterator[str]:
    """Yields the first text piece by piece as it grows, then the other texts whole.

    texts: all texts again and again, while they are being written. A character whose bytes are not
      all there yet waits for the next look.
    """
    shown, last = "", []
    for last in texts:
        prompt, text = last[0]
        complete = (prompt + text).rstrip("\ufffd")
        if complete.startswith(shown):
            yield complete[len(shown) :]
            shown = complete
    if last:
        whole = "".join(last[0])
        yield (whole[len(shown) :] if whole.startswith(shown) else "") + "\n"
        for prompt, text in last[1:]:
            yield f"\n{prompt}{text}\n"
