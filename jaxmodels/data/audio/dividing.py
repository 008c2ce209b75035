"""Which sounds are to train, validate and test with: shares of them, or one speaker against the
others."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmodels.data.dataset import (
    TEST,
    TRAIN,
    VALIDATION,
    Record,
    Selection,
    evaluation_splits,
)
from jaxmodels.data.sentences.folding import held_out
from jaxmodels.errors import InputError

_SHARE = 0.1  # of the training split, for a validation or test split that is not there


class Piece(NamedTuple):
    """Rows of a checked split as it is stored."""

    stored: str
    rows: Int[np.ndarray, " row"]


Pieces = dict[str, tuple[Piece, ...]]  # by split


class Joined:
    """`Records` of pieces of several selections, one after another."""

    def __init__(self, splits: Mapping[str, Selection], pieces: Sequence[Piece]):
        self._splits = {piece.stored: splits[piece.stored] for piece in pieces}
        self._names = [piece.stored for piece in pieces]
        self._piece = np.repeat(np.arange(len(pieces)), [len(piece.rows) for piece in pieces])
        self._row = np.concatenate([piece.rows for piece in pieces])

    def __len__(self) -> int:
        return len(self._row)

    def _place(self, row: int) -> tuple[Selection, int]:
        return self._splits[self._names[self._piece[row]]], int(self._row[row])

    def key(self, row: int) -> str:
        """Returns the name of a record."""
        selection, own = self._place(row)
        return selection.key(own)

    def read(self, rows: Sequence[int]) -> list[Record]:
        """Reads these records."""
        return [selection.read([own])[0] for selection, own in map(self._place, rows)]


def divided(
    name: str, splits: Mapping[str, Selection], validation: float | None, test: float | None
) -> Pieces:
    """Divides the training split where it has to make others.

    validation, test: shares of the training split; None: a tenth where the split is not there.

    Raises:
      InputError: a share of a split that is there, or too few sounds to divide.
    """
    train = splits[TRAIN]
    hashes, labels = train.known["hash"], train.known["label"]
    left, chosen = np.ones(len(train), bool), {}
    for split, share in {VALIDATION: validation, TEST: test}.items():
        if split in splits:
            if share:
                raise InputError(
                    f"{split}_fraction = {share}, but data '{name}' has this split; expected 0"
                )
        elif share := _SHARE if share is None else share:
            chosen[split] = left & held_out(hashes, labels, share, split)
            left &= ~chosen[split]
    if not left.any() or not all(rows.any() for rows in chosen.values()):
        raise InputError(
            f"data '{name}' has {len(train):,} training sounds, which are too few to divide:"
            " expected more, or --validation-fraction 0 --test-fraction 0"
        )
    found = {TRAIN: (Piece(TRAIN, np.flatnonzero(left)),)}
    found |= {split: (Piece(TRAIN, np.flatnonzero(rows)),) for split, rows in chosen.items()}
    for split, some in splits.items():
        if split != TRAIN:
            found[split] = (Piece(split, np.arange(len(some))),)
    return {split: found[split] for split in [TRAIN, *evaluation_splits(found)]}


def speakers_in(splits: Mapping[str, Selection]) -> list[str]:
    """Lists the speakers of all splits, in the order of the alphabet, without unknown ones."""
    names = {name for some in splits.values() for name in some.known["speaker"].tolist()}
    return sorted(name.decode() for name in names - {b""})


def without_speaker(
    name: str, splits: Mapping[str, Selection], speaker: str, validation: float | None
) -> Pieces:
    """Joins all splits and leaves one speaker out: those sounds are to test with, a share of the
    others to choose the best checkpoint with (None: a tenth), and the rest to train on.

    Raises:
      InputError: sounds of unknown speakers, no such speaker, or no other one.
    """
    known = speakers_in(splits)
    unknown = sum(int((some.known["speaker"] == b"").sum()) for some in splits.values())
    if unknown or len(known) < 2:
        raise InputError(
            f"folds = speakers; data '{name}' has {len(known)} speakers and {unknown:,} sounds of"
            " unknown ones: expected two or more that names of files say, by --speaker-pattern"
        )
    if speaker not in known:
        raise InputError(f"fold = {speaker}; data '{name}' has the speakers {', '.join(known)}")
    share = _SHARE if validation is None else validation
    found: dict[str, list[Piece]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for stored, some in splits.items():
        tested = some.known["speaker"] == speaker.encode()
        validated = np.zeros(len(some), bool)
        if share:
            validated = ~tested & held_out(
                some.known["hash"], some.known["label"], share, VALIDATION
            )
        rows = {TRAIN: ~tested & ~validated, VALIDATION: validated, TEST: tested}
        for split, marked in rows.items():
            if marked.any():
                found[split].append(Piece(stored, np.flatnonzero(marked)))
    return {split: tuple(pieces) for split, pieces in found.items() if pieces}
