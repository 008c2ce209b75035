"""Pairs of texts as data: of tfds, files and memory; checked, divided, as tokens in buckets of
lengths."""

from jaxmodels.data.pairs.loading import PairConfig, load_pairs, pairs_elsewhere
from jaxmodels.data.pairs.pair_data import PairData, read_sources

__all__ = ["PairConfig", "PairData", "load_pairs", "pairs_elsewhere", "read_sources"]
