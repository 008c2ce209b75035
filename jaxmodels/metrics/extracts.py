"""Summaries that are sentences of the document: what every summarizer has to be compared with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxmodels.errors import InputError
from jaxmodels.metrics.rouge import rouge

_OFTEN = 3  # sentences that have a word, at least, for it to count
_INVERSE_PENALTY = 0.3
_FIRST = 3  # places from the beginning that have a feature of their own

Sentences = Sequence[str]


class Example(NamedTuple):
    """A document and its references."""

    sentences: Sentences
    references: Sequence[str]


def lead(sentences: Sentences, count: int) -> str:
    """Returns the first sentences."""
    return " ".join(sentences[:count])


def oracle(example: Example) -> int:
    """Returns the place of the sentence with the largest sum of ROUGE-1, -2 and -L: what no choice
    of one sentence can do much better than. It has seen the references."""
    return int(np.argmax(sentence_scores(example)))


def sentence_scores(example: Example) -> Float[np.ndarray, " sentence"]:
    """Computes the sum of ROUGE-1, -2 and -L of each sentence."""
    return np.array([sum(rouge(text, example.references)) for text in example.sentences])


class ExtractiveClassifier:
    """Chooses the sentence that a linear classifier takes for the oracle's with the highest
    probability.

    It sees words and pairs of words, the place of the sentence, its length, and how much it has in
    common with its document.
    """

    def __init__(self, examples: Sequence[Example]):
        """Learns from documents and their references. It is the same on every machine.

        Raises:
          InputError: there is nothing to choose, or no word to choose by.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        labels = np.concatenate([_is_best(example) for example in examples])
        if labels.all():
            raise InputError("each training document has one sentence; expected some with more")
        least = min(_OFTEN, len(examples))
        self._words: Any = TfidfVectorizer(
            ngram_range=(1, 2),
            min_df=least,
            sublinear_tf=True,
            token_pattern=r"\w+",
        )
        try:
            self._words.fit([text for example in examples for text in example.sentences])
        except ValueError:
            raise InputError(
                f"no word of the training documents is in {least} sentences; expected some"
            ) from None
        features = self._features([example.sentences for example in examples])
        self._model: Any = LogisticRegression(
            C=_INVERSE_PENALTY, max_iter=1000, class_weight="balanced"
        )
        self._model.fit(features, labels)

    def choose(self, documents: Sequence[Sentences]) -> Int[np.ndarray, " document"]:
        """Returns the place of the chosen sentence of each document."""
        chances = self._model.decision_function(self._features(documents))
        ends = np.cumsum([len(sentences) for sentences in documents])[:-1]
        return np.array([int(np.argmax(own)) for own in np.split(chances, ends)])

    def _features(self, documents: Sequence[Sentences]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        words = self._words.transform([text for sentences in documents for text in sentences])
        others, at = [], 0
        for sentences in documents:
            own = words[at : at + len(sentences)]
            whole = np.asarray(own.sum(axis=0)).ravel()
            common = own @ whole / max(np.linalg.norm(whole), 1e-9)
            others += [
                _of_place(place, len(sentences), text, float(common[place]))
                for place, text in enumerate(sentences)
            ]
            at += len(sentences)
        return hstack([words, csr_matrix(np.array(others))]).tocsr()


def _of_place(place: int, count: int, text: str, common: float) -> list[float]:
    length = np.log1p(len(text.split()))
    share = place / max(count - 1, 1)
    first = [float(place == number) for number in range(_FIRST)]
    return [*first, float(place == count - 1), share, share**2, length, length**2 / 4, common]


def _is_best(example: Example) -> np.ndarray:
    best = np.zeros(len(example.sentences), bool)
    best[oracle(example)] = True
    return best
