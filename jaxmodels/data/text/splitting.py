"""Validation and test splits, made of a part of the training text where the data has none."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8, UInt64

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION
from jaxmodels.data.text.corpus import mapped
from jaxmodels.data.text.gathering import Gathered
from jaxmodels.errors import InputError

SHARE = 0.05  # of the training text, for each split that is made
_FEWEST = 50  # documents, below which the text is divided by position
_NEAR = 1 << 16  # bytes that are read at once, and that the beginning of a line is looked for in


class Split(NamedTuple):
    """Documents of a stored split."""

    stored: str
    ranges: Int[np.ndarray, "document 2"]  # of bytes in the stored text
    hashes: UInt64[np.ndarray, " document"]  # of their content
    rows: Int[np.ndarray, " document"]  # of their records

    def only(self, mask: Bool[np.ndarray, " document"]) -> "Split":
        """Returns some of the documents."""
        return Split(self.stored, self.ranges[mask], self.hashes[mask], self.rows[mask])


def fractions_of(
    name: str, splits: Mapping[str, object], validation: float | None, test: float | None
) -> dict[str, float]:
    """Returns what share of the training text becomes which split.

    validation, test: None: `SHARE` where the data has no such split.

    Raises:
      InputError: a fraction out of [0, 1), together 1 or more, or above 0 for a split that the data
        has.
    """
    fractions = {}
    for split, fraction in ((VALIDATION, validation), (TEST, test)):
        field = f"{split}_fraction"
        if fraction is None:
            fraction = 0.0 if split in splits else SHARE
        if not 0 <= fraction < 1:
            raise InputError(f"{field} = {fraction}; expected at least 0 and below 1")
        if fraction and split in splits:
            raise InputError(
                f"{field} = {fraction}, but data '{name}' has a {split} split already; expected 0"
            )
        if fraction:
            fractions[split] = fraction
    if sum(fractions.values()) >= 1:
        raise InputError(
            f"validation_fraction and test_fraction are {fractions}; expected a sum below 1, as"
            " the rest is trained on"
        )
    return fractions


def divide(
    name: str, gathered: Mapping[str, Gathered], fractions: Mapping[str, float]
) -> tuple[dict[str, Split], str]:
    """Makes the splits of gathered texts; returns them and how the training text was divided:
    "documents", "position" or "" (not at all).

    Whole documents are chosen by a hash of their content: those with the smallest hashes are the
    validation split, those with the largest the test split, as many as come nearest to the share of
    the text. So equal documents stay together, and hardly any moves when others come or go. If
    there are few documents, the end of the text is the test split and the part before it the
    validation split; each begins with a line, and the parts of a document that is cut are
    documents.

    Raises:
      InputError: a text so short that a split would be empty.
    """
    splits = {split: _whole(split, text) for split, text in gathered.items()}
    if not fractions:
        return splits, ""
    train = splits[TRAIN]
    sides = _sides(train, fractions)
    if len(sides) >= _FEWEST and all((sides == split).any() for split in (TRAIN, *fractions)):
        carved = {split: train.only(sides == split) for split in (TRAIN, *fractions)}
        return splits | carved, "documents"
    text = mapped(gathered[TRAIN].path, np.dtype(np.uint8))
    return splits | _by_position(name, text, train, fractions), "position"


def _whole(split: str, text: Gathered) -> Split:
    ranges = np.stack([text.starts[:-1], text.starts[1:]], axis=1)
    return Split(split, ranges, text.hashes, text.rows)


def _sides(train: Split, fractions: Mapping[str, float]) -> np.ndarray:
    """Returns the name of the split that each document goes to."""
    sizes, hashes = np.diff(train.ranges)[:, 0], train.hashes
    sides = np.full(len(hashes), TRAIN, dtype="U10")
    order = np.argsort(hashes, kind="stable")
    for split, ranked in ((VALIDATION, order), (TEST, order[::-1])):
        if split in fractions:
            totals = np.cumsum(sizes[ranked])
            last = int(np.abs(totals - fractions[split] * totals[-1]).argmin())
            border = hashes[ranked[last]]
            sides[hashes <= border if split == VALIDATION else hashes >= border] = split
    return sides


def _by_position(
    name: str, text: UInt8[np.ndarray, " byte"], train: Split, fractions: Mapping[str, float]
) -> dict[str, Split]:
    size = len(text)
    first_of_test = size * (1 - fractions.get(TEST, 0))
    first_of_validation = first_of_test - size * fractions.get(VALIDATION, 0)
    places = [0, *(_beginning(text, round(p)) for p in (first_of_validation, first_of_test)), size]
    splits = {}
    for split, start, stop in zip((TRAIN, VALIDATION, TEST), places, places[1:]):
        if split == TRAIN or split in fractions:
            splits[split] = _between(text, train, start, stop)
            if not len(splits[split].ranges):
                raise InputError(
                    f"data '{name}' has {size:,} bytes to train on, too few to divide: its {split}"
                    " split would be empty; expected more text, or --validation-fraction 0"
                    " --test-fraction 0"
                )
    return splits


def _between(text: UInt8[np.ndarray, " byte"], whole: Split, start: int, stop: int) -> Split:
    """Returns what of a split lies between two places of the text."""
    some = whole.only((whole.ranges[:, 1] > start) & (whole.ranges[:, 0] < stop))
    ranges, hashes = np.clip(some.ranges, start, stop), some.hashes.copy()
    for row in np.flatnonzero((ranges != some.ranges).any(axis=1)).tolist():
        digest = hashlib.blake2b(digest_size=8)
        begin, end = ranges[row].tolist()
        for first in range(begin, end, _NEAR):
            digest.update(text[first : min(first + _NEAR, end)].tobytes())
        hashes[row] = int.from_bytes(digest.digest(), "little")
    return Split(some.stored, ranges, hashes, some.rows)


def _beginning(text: UInt8[np.ndarray, " byte"], place: int) -> int:
    """Returns the beginning of the first line from a place on, or of the next character where lines
    are very long."""
    if place >= len(text):
        return len(text)
    found = text[place : place + min(_NEAR, len(text) // 100)].tobytes().find(b"\n")
    if found >= 0 and place + found + 1 < len(text):
        return place + found + 1
    while place < len(text) and text[place] & 0xC0 == 0x80:
        place += 1
    return place
