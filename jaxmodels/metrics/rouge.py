"""ROUGE of summaries (Lin 2004) by the rouge-score library: F-measures of stemmed words, 0 to 1.

The library sees letters a-z and digits alone: a text of another alphabet has no word, and scores 0.

Of several references of a document the one counts whose ROUGE-1 is the largest, with its own
ROUGE-2 and ROUGE-L, as SciTLDR is scored (Cachola et al. 2020; github.com/allenai/scitldr at
scripts/cal-rouge.py). The library's own `score_multi` takes the largest of each, which is more.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

KINDS = ("rouge1", "rouge2", "rougeL")
SIGNATURE = (
    "rouge-score F-measure, words of a-z and 0-9 alone, Porter stemmer, reference of the largest"
    " ROUGE-1, mean of documents"
)
_SEEN = re.compile("[a-z0-9]")  # what the library's words are of, in small letters
_REMEMBERED = 1 << 16  # texts whose stems are kept, because oracles compare each sentence anew


class Rouge(NamedTuple):
    """F-measures of one summary, or their means over documents."""

    rouge1: float  # of words
    rouge2: float  # of pairs of words
    rougeL: float  # of the longest common subsequence of words


def rouge(summary: str, references: Sequence[str]) -> Rouge:
    """Scores a summary against the reference that its words are nearest to.

    Raises:
      ValueError: no reference.
    """
    found = [_scorer().score(reference, summary) for reference in references]
    if not found:
        raise ValueError("references is empty; expected one or more")
    best = max(found, key=lambda scores: scores["rouge1"].fmeasure)
    return Rouge(*(float(best[kind].fmeasure) for kind in KINDS))


def rouge_of_each(summaries: Iterable[str], references: Iterable[Sequence[str]]) -> list[Rouge]:
    """Scores the summary of each document against its references."""
    return [rouge(summary, own) for summary, own in zip(summaries, references, strict=True)]


def count_unseen(references: Iterable[Sequence[str]]) -> int:
    """Counts the documents of which no reference has a word that the library sees. Any summary of
    them scores 0."""
    return sum(not any(_SEEN.search(text.lower()) for text in own) for own in references)


def mean_rouge(scores: Sequence[Rouge]) -> Rouge:
    """Averages over documents."""
    return Rouge(*np.mean(np.asarray(scores, np.float64), axis=0).tolist())


class _Stems:
    """The library's tokens, remembered."""

    def __init__(self):
        from rouge_score.tokenizers import DefaultTokenizer

        self.tokenize = lru_cache(_REMEMBERED)(DefaultTokenizer(use_stemmer=True).tokenize)


@lru_cache(maxsize=1)
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(KINDS), tokenizer=_Stems())
