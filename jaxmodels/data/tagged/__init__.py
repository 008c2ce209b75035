"""Sentences whose words have tags as data: of JSON lines, CoNLL files, tfds and memory; checked,
divided, as tokens."""

from jaxmodels.data.tagged.loading import NONE, TaggedConfig, load_tagged, tagged_elsewhere
from jaxmodels.data.tagged.tagged_data import TaggedData, read_words, tags_of

__all__ = [
    "NONE",
    "TaggedConfig",
    "TaggedData",
    "load_tagged",
    "read_words",
    "tagged_elsewhere",
    "tags_of",
]
