"""Sentences with labels as data: of tfds, CSV and memory; checked, divided, as tokens."""

from jaxmodels.data.sentences.loading import SentenceConfig, load_sentences, sentences_elsewhere
from jaxmodels.data.sentences.sentence_data import SentenceData, read_sentences

__all__ = [
    "SentenceConfig",
    "SentenceData",
    "load_sentences",
    "read_sentences",
    "sentences_elsewhere",
]
