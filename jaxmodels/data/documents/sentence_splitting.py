"""Sentences of a text that does not say where they end."""

import re

_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9])|\n\s*\n")
# A full stop behind these ends no sentence, nor one behind a single letter, as of an initial.
_SHORT = re.compile(
    r"al|approx|cf|ch|co|corp|dr|e\.g|eqs?|etc|figs?|gen|gov|i\.e|inc|jr|ltd?|mrs?|ms|nos?|pp?|prof|"
    r"refs?|rev|sec|sen|sr|st|tab|u\.k|u\.s|vol|vs"
)


def split_sentences(text: str) -> list[str]:
    """Divides a text at marks that end a sentence and at blank lines; each sentence has single
    spaces. Marks behind an abbreviation and before a small letter end none."""
    sentences: list[str] = []
    start = 0
    for found in _END.finditer(text):
        if not _is_short(text[start : found.start()]):
            sentences.append(text[start : found.end()])
            start = found.end()
    sentences.append(text[start:])
    return [" ".join(sentence.split()) for sentence in sentences if sentence.strip()]


def _is_short(sentence: str) -> bool:
    if not sentence.endswith("."):
        return False
    word = re.split(r"[\s(\[]", sentence[:-1])[-1].lower()
    return _SHORT.fullmatch(word) is not None or (len(word) == 1 and word.isalpha())
