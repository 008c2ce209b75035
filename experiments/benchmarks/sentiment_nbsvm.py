"""NBSVM (Wang & Manning 2012) on the sentences, folds and tokens of experiments.sentiment.

    python -m experiments.benchmarks.sentiment_nbsvm --data sentence_polarity --data-dir DIR \\
        --folds 10

It is scikit-learn's LinearSVC on phrases of one and two words, each scaled by its ratio of naive
Bayes, and interpolated with these as published: (1 - beta) * mean |w| + beta * w.
"""

import sys
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev
from typing import Any, cast

import numpy as np
import tyro
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.svm import LinearSVC

from jaxmodels.data.dataset import TEST, TRAIN
from jaxmodels.data.sentences import SentenceConfig, SentenceData, load_sentences
from jaxmodels.data.sentences.vocabulary import words_in
from jaxmodels.errors import InputError

_C, _BETA, _SMOOTHING = 0.1, 0.25, 1.0  # beta and smoothing as published


def accuracy(data: SentenceData, phrases: int = 2) -> float:
    """Trains on the training split and computes the accuracy on the test split."""
    # Their annotations do not know that an analyzer may be a function, nor what comes out.
    vectorizer: Any = CountVectorizer(analyzer=cast(Any, partial(_phrases, phrases)), binary=True)
    train, test = data.splits[TRAIN], data.splits[TEST]
    x = vectorizer.fit_transform(train.texts).astype(np.float64).tocsr()
    scores = []
    for label in range(len(data.class_names)):
        own = train.labels == label
        shares = [np.asarray(x[rows].sum(0)).ravel() + _SMOOTHING for rows in (own, ~own)]
        ratio = np.log(shares[0] / shares[0].sum()) - np.log(shares[1] / shares[1].sum())
        machine: Any = LinearSVC(C=_C).fit(x.multiply(ratio), own)
        weights = machine.coef_[0]
        weights = (1 - _BETA) * np.abs(weights).mean() + _BETA * weights
        found = vectorizer.transform(test.texts).multiply(ratio)
        scores.append(found @ weights + _BETA * machine.intercept_[0])
    return float(np.mean(np.argmax(scores, axis=0) == test.labels))


def _phrases(most: int, texts: tuple[str, ...]) -> list[str]:
    return [
        " ".join(words[start : start + count])
        for words in map(words_in, texts)
        for count in range(1, most + 1)
        for start in range(len(words) - count + 1)
    ]


def main(config: SentenceConfig) -> None:
    """Prints the accuracy of each fold, or of the test split, and their mean."""
    config.validate()
    folds = range(config.folds) if config.folds and config.fold is None else (config.fold,)
    found = []
    for fold in folds:
        # As published, all sentences of the other folds are to train on.
        data = load_sentences(replace(config, fold=fold, validation_fraction=0.0))
        found.append(accuracy(data))
        print(f"fold={fold} test/accuracy={found[-1]:.5f}", flush=True)
    deviation = f"±{stdev(found):.2g}" if len(found) > 1 else ""
    print(f"folds={len(found)} test/accuracy={fmean(found):.5f}{deviation}")


if __name__ == "__main__":
    try:
        main(tyro.cli(SentenceConfig))
    except InputError as error:
        sys.exit(f"error: {error}")
