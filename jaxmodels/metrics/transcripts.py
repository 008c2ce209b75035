"""Errors of transcripts, by jiwer, in words and in characters."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# What `comparable` does, for the record of a run.
NORMALISATION = (
    "small letters; digits spelled one by one; everything but letters, apostrophes, * and # is a"
    " space"
)


class Transcribed(NamedTuple):
    """Errors over all transcripts, and of each."""

    wer: float
    cer: float
    counts: dict[str, int]  # of words: "words", "substitutions", "deletions", "insertions"
    errors: Int[np.ndarray, " text"]  # of words
    words: Int[np.ndarray, " text"]  # of what was said


def comparable(text: str) -> str:
    """Brings a text to the form in which transcripts are compared: `NORMALISATION`."""
    text = re.sub(r"\d", lambda found: f" {_DIGITS[int(found[0])]} ", text.lower())
    text = "".join(c if c.isalpha() or c in "'’*#" else " " for c in text).replace("’", "'")
    return " ".join(text.split())


def transcript_errors(said: Sequence[str], heard: Sequence[str]) -> Transcribed:
    """Counts the errors of transcripts against what was said, both in comparable form: the edits
    over the words, and over the characters, of what was said.

    What was said without a word is left out.
    """
    import jiwer

    pairs = [(comparable(a), comparable(b)) for a, b in zip(said, heard, strict=True)]
    rows = [row for row, (a, _) in enumerate(pairs) if a]
    errors, words = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.int64)
    if not rows:
        return Transcribed(float("nan"), float("nan"), {}, errors, words)
    references, hypotheses = [pairs[row][0] for row in rows], [pairs[row][1] for row in rows]
    found = jiwer.process_words(references, hypotheses)
    for row, chunks, reference in zip(rows, found.alignments, found.references):
        errors[row] = sum(_edits(chunk) for chunk in chunks)
        words[row] = len(reference)
    counts = {
        "words": int(words.sum()),
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
    }
    cer = jiwer.cer(references, hypotheses)
    return Transcribed(float(found.wer), float(cer), counts, errors, words)


def _edits(chunk: Any) -> int:
    if chunk.type == "equal":
        return 0
    spans = chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
    return max(spans)


def rates(found: Transcribed) -> Float[np.ndarray, " text"]:
    """Computes the errors of each text over its words."""
    return found.errors / np.maximum(found.words, 1)
