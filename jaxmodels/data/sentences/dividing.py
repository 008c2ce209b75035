"""Reads the checked sentences of splits, which it divides: by shares of the training split, or into
folds of all."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Int

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, Selection, evaluation_splits
from jaxmodels.data.sentences.folding import held_out, splits_of_fold
from jaxmodels.data.sentences.reading import COLUMNS
from jaxmodels.data.sentences.sentence_data import Sentences
from jaxmodels.errors import InputError

Some = TypeVar("Some")

_SHARE = 0.1  # of the training split, for a validation or test split that is not there


def read(found: Sequence[Selection], rows: Int[np.ndarray, " row"] | None = None) -> Sentences:
    """Reads sentences of selections that are joined; rows: of the joined ones; None: all."""
    starts = np.cumsum([0, *(len(some) for some in found)])
    rows = np.arange(starts[-1]) if rows is None else rows
    texts: list[tuple[str, ...]] = []
    labels, keys = [np.zeros(0, np.int32)], []
    for some, start in zip(found, starts):
        own = rows[(rows >= start) & (rows < start + len(some))] - start
        records = some.read(own.tolist())
        columns = [name for name in COLUMNS if records and name in records[0]]
        texts += [tuple(record[name].decode() for name in columns) for record in records]
        labels.append(some.known["label"][own])
        keys += [some.key(int(row)) for row in own]
    return Sentences(texts, np.concatenate(labels).astype(np.int32), keys)


def divided(
    name: str,
    splits: Mapping[str, Selection],
    validation: float | None,
    test: float | None,
    read: Callable[..., Some] = read,
) -> dict[str, Some]:
    """Divides the training split where it has to make others, and reads all splits.

    validation, test: shares of the training split; None: a tenth where the split is not there.
    read: reads the records of joined selections, or some rows of them.

    Raises:
      InputError: a share of a split that is there, or too few sentences to divide.
    """
    train = splits[TRAIN]
    hashes, labels = train.known["hash"], train.known["label"]
    chosen: dict[str, np.ndarray] = {}
    left = np.ones(len(train), bool)
    wanted = {VALIDATION: validation, TEST: test}
    for split, share in wanted.items():
        if split in splits:
            if share:
                raise InputError(
                    f"{split}_fraction = {share}, but data '{name}' has this split; expected 0"
                )
            continue
        if share := _SHARE if share is None else share:
            chosen[split] = left & held_out(hashes, labels, share, split)
            left = left & ~chosen[split]
    if not left.any() or not all(rows.any() for rows in chosen.values()):
        raise InputError(
            f"data '{name}' has {len(train):,} training sentences, which are too few to divide:"
            " expected more, or --validation-fraction 0 --test-fraction 0"
        )
    found = {TRAIN: read([train], np.flatnonzero(left))}
    found |= {split: read([train], np.flatnonzero(rows)) for split, rows in chosen.items()}
    found |= {split: read([some]) for split, some in splits.items() if split != TRAIN}
    return {split: found[split] for split in [TRAIN, *evaluation_splits(found)]}


def folded(
    splits: Mapping[str, Selection], folds: int, fold: int, validation: float | None
) -> dict[str, Sentences]:
    """Joins all splits, divides them into those of a fold, and reads these.

    validation: as in `divided`.
    """
    found = list(splits.values())
    hashes, labels = (
        np.concatenate([some.known[name] for some in found]) for name in ("hash", "label")
    )
    share = _SHARE if validation is None else validation
    rows_of = splits_of_fold(hashes, labels, folds, fold, share)
    return {split: read(found, rows) for split, rows in rows_of.items()}
