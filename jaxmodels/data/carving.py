"""A validation split made of a part of the training split."""

import hashlib
from collections.abc import Mapping

import numpy as np

from jaxmodels.data.dataset import TRAIN, VALIDATION, Part, Records, evaluation_splits
from jaxmodels.errors import InputError


def check_shares(validation: float | None, test: float | None) -> None:
    """Requires shares of the training split that leave some of it; None: the data's own splits.

    Raises:
      InputError: a share below 0, or shares of 1 or more together.
    """
    shares = [validation or 0.0, test or 0.0]
    if min(shares) < 0 or sum(shares) >= 1:
        raise InputError(
            f"validation_fraction, test_fraction = {shares}; expected at least 0, and less than 1"
            " together"
        )


def check_fraction(name: str, has_validation: bool, fraction: float) -> None:
    """Requires a fraction that suits the data.

    Raises:
      InputError: a fraction out of [0, 1), or above 0 for data that has a validation split.
    """
    if not 0 <= fraction < 1:
        raise InputError(f"validation_fraction = {fraction}; expected at least 0 and below 1")
    if fraction and has_validation:
        raise InputError(
            f"validation_fraction = {fraction}, but data '{name}' has a validation split already;"
            " expected 0"
        )


def carve(name: str, splits: Mapping[str, Records], fraction: float) -> dict[str, Part]:
    """Moves this fraction of the training records to a validation split; returns all splits in the
    order train, validation, test, others.

    Where a record goes depends on its key alone, so it stays there when others come or go.

    Raises:
      InputError: as `check_fraction`, or where no record is left on one side.
    """
    check_fraction(name, VALIDATION in splits, fraction)
    parts = {
        split: Part(split, splits[split], np.arange(len(splits[split]), dtype=np.int32))
        for split in [TRAIN, *evaluation_splits(splits)]
    }
    if not fraction:
        return parts
    train = splits[TRAIN]
    size = len(train)
    chosen = np.fromiter((share(train.key(row)) < fraction for row in range(size)), bool, size)
    if chosen.all() or not chosen.any():
        empty = "training" if chosen.all() else "validation"
        raise InputError(
            f"validation_fraction = {fraction} leaves no {empty} record of the {size:,} of data"
            f" '{name}'; expected at least one on each side"
        )
    carved = {
        split: Part(TRAIN, train, np.flatnonzero(side).astype(np.int32))
        for split, side in ((TRAIN, ~chosen), (VALIDATION, chosen))
    }
    return carved | {split: part for split, part in parts.items() if split != TRAIN}


def share(key: str) -> float:
    """Hashes a key to a number, uniform in [0, 1)."""
    # A file's name may hold bytes that are not text.
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
