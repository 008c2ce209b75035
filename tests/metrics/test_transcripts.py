"""Errors of transcripts beside counts by hand."""

import math

from jaxmodels.metrics.transcripts import comparable, rates, transcript_errors


def test_texts_are_compared_without_marks_and_with_spelled_digits():
    assert comparable("It’s 5-5, OK?") == "it's five five ok"
    assert comparable("4 1 # *") == "four one # *"


def test_errors_of_words_and_characters():
    said = ["one two three", "four five", "..."]
    heard = ["one too three four", "five", "what"]
    found = transcript_errors(said, heard)
    assert found.errors.tolist() == [2, 1, 0] and found.words.tolist() == [3, 2, 0]
    assert found.wer == 3 / 5
    assert found.counts == {"words": 5, "substitutions": 1, "deletions": 1, "insertions": 1}
    assert rates(found).tolist() == [2 / 3, 1 / 2, 0]
    # "w" for "o", " four" is new, "four " is lacking: of 13 + 9 characters.
    assert found.cer == 11 / 22
    assert math.isnan(transcript_errors(["!"], ["a"]).wer)
