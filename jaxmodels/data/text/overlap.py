"""Passages of evaluation splits inside the training text."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt64

from jaxmodels.data.text.corpus import Texts

PASSAGE = 200  # bytes, about 35 words
STEP = 100  # so that every common passage of PASSAGE + STEP bytes or more is found
_FEWEST_VALUES = 10  # different bytes in a passage; rulers and blank lines have fewer
_BLOCK = 1 << 20  # bytes that are hashed at once
_SIEVE_BITS = 24
# A random number for each value of a byte, and an odd base: polynomials over 2^64 of these collide
# by chance only.
_VALUES = np.random.Philox(key=(0, 0)).random_raw(256)
_BASE = 0x9E3779B97F4A7C15


class Overlap(NamedTuple):
    """What of an evaluation split is in the training text."""

    passages: int  # of the split, one every STEP bytes of a document
    found: int  # those that the training text has too
    documents: Bool[np.ndarray, " document"]  # of the training split that hold one


def overlap_of(train: Texts, evaluated: Texts) -> Overlap:
    """Looks for the passages of an evaluation split in all documents of the training split.

    Texts are compared by hashes of 64 bits (Karp and Rabin 1987), a block at a time. Memory is that
    of a block and 8 bytes a passage.
    """
    known = np.unique(np.concatenate([np.zeros(0, np.uint64), *_indexed(evaluated)]))
    sieve = np.zeros(1 << _SIEVE_BITS, bool)
    sieve[known >> np.uint64(64 - _SIEVE_BITS)] = True
    found, documents = np.zeros(len(known), bool), np.zeros(len(train), bool)
    if not len(known):
        return Overlap(0, 0, documents)
    for first, hashes in _hashed(train):
        places = np.flatnonzero(sieve[hashes >> np.uint64(64 - _SIEVE_BITS)])
        candidates = hashes[places]
        rows = np.minimum(np.searchsorted(known, candidates), len(known) - 1)
        document, inside = _documents_at(train, first + places)
        hits = (known[rows] == candidates) & inside
        found[rows[hits]] = True
        documents[document[hits]] = True
    return Overlap(len(known), int(found.sum()), documents)


def _indexed(texts: Texts) -> Iterator[UInt64[np.ndarray, " passage"]]:
    """Yields the hashes of passages at every STEP of each document."""
    for first, hashes in _hashed(texts):
        places = first + np.arange(len(hashes))
        document, inside = _documents_at(texts, places)
        inside &= (places - texts.ranges[document, 0]) % STEP == 0
        chosen = np.flatnonzero(inside)
        window = texts.bytes[first : first + len(hashes) + PASSAGE - 1]
        passages = np.sort(window[chosen[:, None] + np.arange(PASSAGE)], axis=1)
        values = 1 + np.count_nonzero(np.diff(passages, axis=1), axis=1)
        yield hashes[chosen[values >= _FEWEST_VALUES]]


def _documents_at(
    texts: Texts, places: Int[np.ndarray, " place"]
) -> tuple[Int[np.ndarray, " place"], Bool[np.ndarray, " place"]]:
    """Returns the document at each place, and whether a passage that begins there lies inside."""
    document = np.maximum(np.searchsorted(texts.ranges[:, 0], places, side="right") - 1, 0)
    start, stop = texts.ranges[document].T
    return document, (places >= start) & (places + PASSAGE <= stop)


def _hashed(texts: Texts) -> Iterator[tuple[int, UInt64[np.ndarray, " place"]]]:
    """Yields a place and the hashes of the passages that begin there and at each byte after it, a
    block at a time, over the part of the file that the documents lie in."""
    if not len(texts):
        return
    begin, end = int(texts.ranges[:, 0].min()), int(texts.ranges[:, 1].max())
    if end - begin < PASSAGE:
        return
    longest = min(_BLOCK, end - begin)
    powers = _powers(longest + PASSAGE, _BASE)
    inverse = _powers(longest, pow(_BASE, -1, 1 << 64))
    for first in range(begin, end - PASSAGE + 1, _BLOCK):
        block = texts.bytes[first : min(first + _BLOCK + PASSAGE - 1, end)]
        yield first, _rolling(block, powers, inverse)


def _rolling(
    block: UInt8[np.ndarray, " byte"],
    powers: UInt64[np.ndarray, " power"],
    inverse: UInt64[np.ndarray, " inverse"],
) -> UInt64[np.ndarray, " place"]:
    sums = np.zeros(len(block) + 1, np.uint64)
    np.cumsum(_VALUES[block] * powers[: len(block)], out=sums[1:])
    count = len(block) - PASSAGE + 1
    return (sums[PASSAGE:] - sums[:count]) * inverse[:count]


def _powers(count: int, base: int) -> UInt64[np.ndarray, " power"]:
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
