"""Conversations with instruct models, as tokens.

The template that lies beside a tokenizer is a program (Jinja). It is not run: the form that SmolLM2
and Qwen2 share (ChatML) is recognized, and others are refused.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxmodels.data.text.bpe import PublishedTokenizer
from jaxmodels.data.text.tokenizers import Tokenizer, Tokens
from jaxmodels.errors import InputError

START, END = "<|im_start|>", "<|im_end|>"
_SYSTEM = (
    "{%if loop.first and messages[0]['role'] != 'system'%}"
    "{{'<|im_start|>system\nTEXT<|im_end|>\n'}}{%endif%}"
)
_TURNS = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
_ANSWER = "{%if add_generation_prompt%}{{'<|im_start|>assistant\n'}}{%endif%}"
_BEFORE, _AFTER = "{%for message in messages%}", "{%endfor%}"
_FORM = re.compile(
    "".join(
        (
            re.escape(_BEFORE),
            f"(?:{re.escape(_SYSTEM)})?".replace("TEXT", r"(?P<system>[^'\\]*)"),
            re.escape(_TURNS + _AFTER + _ANSWER),
        )
    )
)


class Turn(NamedTuple):
    """What one side says; role: system, user or assistant."""

    role: str
    text: str


class Chat(NamedTuple):
    """How conversations become tokens.

    system: the text of the first turn where a conversation begins without one; None: there is none.
    """

    tokenizer: PublishedTokenizer
    system: str | None
    start: int  # the token before a turn
    end: int  # the token that ends a turn

    def tokens(self, turns: Sequence[Turn]) -> Tokens:
        """Encodes turns and the beginning of the assistant's answer.

        What stands in a turn is text: it cannot end the turn.
        """
        if self.system is not None and turns[0].role != "system":
            turns = [Turn("system", self.system), *turns]
        texts = [*(f"{turn.role}\n{turn.text}" for turn in turns), "\n", "assistant\n"]
        *said, after, answer = self.tokenizer.encode(texts)
        parts = [part for one in said for part in ([self.start], one, [self.end], after)]
        return np.concatenate([*parts, [self.start], answer]).astype(np.int32)


def chat_of(tokenizer: Tokenizer, otherwise: str = "take another model") -> Chat:
    """Finds out how conversations become tokens.

    otherwise: what to do where they do not, for the message.

    Raises:
      InputError: the tokenizer has no template, or one of a form that is not known here.
    """
    template = None
    if isinstance(tokenizer, PublishedTokenizer):
        template = tokenizer.config.get("chat_template")
    if not isinstance(tokenizer, PublishedTokenizer) or not isinstance(template, str):
        raise InputError(
            f"tokenizer = {tokenizer.name}; it has no chat template: expected the weights of an"
            f" instruct model, or {otherwise}"
        )
    start, end = (tokenizer.token_of(name) for name in (START, END))
    form = _FORM.fullmatch(_plain(template))
    if form is None or start is None or end is None:
        raise InputError(
            f"tokenizer = {tokenizer.name}; expected a chat template of the form {START}ROLE, a"
            f" line break, TEXT{END}, as SmolLM2's; it is {template[:60]!r}...: {otherwise}"
        )
    return Chat(tokenizer, form["system"], start, end)


def _plain(template: str) -> str:
    """Writes line breaks, and spaces inside of braces, in one way."""
    template = re.sub(r"(\{[{%])-?\s*", r"\1", template.replace("\\n", "\n"))
    return re.sub(r"\s*-?([%}]\})", r"\1", template).strip()
