"""Sentences of a text that does not say where they end."""

import re

_BLANK_LINE = re.compile(r"\n\s*\n")
# Marks of Chinese and Japanese need no space behind them, the others do. What follows is looked at
# apart, since an expression knows no capital letters of all alphabets.
_END = re.compile(
    r"(?<=[.!?])[\"'”’»)\]]*\s+(?=[\"'“‘«(\[¿¡]*([^\W_]))|[。！？]+[\"'”’»)\]」』）】]*"
)
# A full stop behind these ends no sentence, nor one behind a single letter, as of an initial.
_SHORT = re.compile(
    r"al|approx|cf|ch|co|corp|dr|e\.g|eqs?|etc|figs?|gen|gov|i\.e|inc|jr|ltd?|mrs?|ms|nos?|pp?|prof|"
    r"refs?|rev|sec|sen|sr|st|tab|u\.k|u\.s|vol|vs"
)


def split_sentences(text: str) -> list[str]:
    """Divides a text at marks that end a sentence and at blank lines; each sentence has single
    spaces. Marks behind an abbreviation and before a small letter end none."""
    parts = [part for block in _BLANK_LINE.split(text) for part in _divided(block)]
    return [" ".join(part.split()) for part in parts if part.strip()]


def _divided(text: str) -> list[str]:
    """Divides a text at marks alone."""
    sentences: list[str] = []
    start = 0
    for found in _END.finditer(text):
        begins_small = found[1] is not None and found[1].islower()
        if not begins_small and not _is_short(text[start : found.start()]):
            sentences.append(text[start : found.end()])
            start = found.end()
    return [*sentences, text[start:]]


def _is_short(sentence: str) -> bool:
    if not sentence.endswith("."):
        return False
    word = re.split(r"[\s(\[]", sentence[:-1])[-1].lower()
    return _SHORT.fullmatch(word) is not None or (len(word) == 1 and word.isalpha())
