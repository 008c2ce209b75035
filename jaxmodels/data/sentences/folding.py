"""Which sentences are to train, validate and test with: shares of them, or folds."""

import hashlib

import numpy as np
from jaxtyping import Bool, Int, UInt64

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION
from jaxmodels.errors import InputError

Hashes = UInt64[np.ndarray, " sentence"]
Labels = Int[np.ndarray, " sentence"]


def folds_of(hashes: Hashes, labels: Labels, folds: int) -> Int[np.ndarray, " sentence"]:
    """Gives each sentence the number of its fold. The sizes of folds differ by at most one, and so
    do their numbers of sentences of each class. Equal sentences are in one fold.

    Folds depend on the content alone, not on the order of the sentences.

    Raises:
      InputError: fewer sentences of a class than folds.
    """
    found = np.zeros(len(hashes), np.int64)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    own = np.zeros(len(first), np.int64)
    start = 0
    for label in np.unique(labels):
        # `unique` sorts by hash, so these are in a random order that content alone decides.
        places = np.flatnonzero(labels[first] == label)
        if len(places) < folds:
            raise InputError(
                f"folds = {folds}; a class has {len(places)} different sentences: expected at"
                " least one for each fold"
            )
        # Each class begins where the one before has ended, so that the remainders are spread.
        own[places] = (start + np.arange(len(places))) % folds
        start += len(places)
    found[:] = own[inverse]
    return found


def held_out(
    hashes: Hashes, labels: Labels, share: float, salt: str
) -> Bool[np.ndarray, " sentence"]:
    """Chooses a share of the sentences, the same of each class. Equal sentences go together.

    salt: choices by different ones are independent.
    """
    ranks = np.fromiter((_salted(int(value), salt) for value in hashes), float, len(hashes))
    chosen = np.zeros(len(hashes), bool)
    for label in np.unique(labels):
        own = labels == label
        least = np.quantile(ranks[own], share)
        chosen |= own & (ranks < least)
    return chosen


def _salted(value: int, salt: str) -> float:
    digest = hashlib.blake2b(value.to_bytes(8, "little"), digest_size=8, key=salt.encode())
    return int.from_bytes(digest.digest(), "big") / 2**64


def splits_of_fold(
    hashes: Hashes, labels: Labels, folds: int, fold: int, validation: float
) -> dict[str, Int[np.ndarray, " row"]]:
    """Divides sentences into the splits of one fold: it is to test with, a share of the others to
    choose the best checkpoint with (none with 0), and the rest to train on."""
    tested = folds_of(hashes, labels, folds) == fold
    validated = ~tested & held_out(hashes, labels, validation, "validation") if validation else None
    splits = {TRAIN: ~tested}
    if validated is not None:
        splits = {TRAIN: ~tested & ~validated, VALIDATION: validated}
    return {split: np.flatnonzero(rows) for split, rows in (splits | {TEST: tested}).items()}
