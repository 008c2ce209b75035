"""Which rows of a table are to train, validate and test with."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from jaxmodels.data.carving import share
from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION
from jaxmodels.data.split_names import split_of
from jaxmodels.data.tables.values import categories_in
from jaxmodels.errors import InputError

if TYPE_CHECKING:
    import pyarrow

Split = Int[np.ndarray, " _"]  # rows


def splits_by_content(
    table: "pyarrow.Table", names: Iterable[str], validation: float, test: float
) -> dict[str, Split]:
    """Divides rows by a hash of their values in these columns: equal rows are in one split, and a
    row stays there when others come or go. A change of one share leaves the other split as it is.

    validation, test: their shares of the rows.
    """
    shares = shares_of(table, names)
    chosen = {VALIDATION: shares < validation, TEST: shares >= 1 - test}
    chosen[TRAIN] = ~(chosen[VALIDATION] | chosen[TEST])
    return _in_order({split: np.flatnonzero(rows) for split, rows in chosen.items()})


def shares_of(table: "pyarrow.Table", names: Iterable[str]) -> Float[np.ndarray, " row"]:
    """Hashes each row to a number, uniform in [0, 1)."""
    columns = [_texts(table[name]) for name in sorted(names)]
    return np.fromiter(
        (share("\x1f".join(values)) for values in zip(*columns)), float, table.num_rows
    )


def fingerprint_of_rows(table: "pyarrow.Table") -> str:
    """Hashes all values of a table with the names of its columns: 16 digits."""
    digest = hashlib.sha256()
    for name in sorted(table.column_names):
        digest.update("\x1f".join([name, *_texts(table[name])]).encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()[:16]


def _texts(column: "pyarrow.ChunkedArray") -> Sequence[str]:
    import pyarrow as pa

    if pa.types.is_list(column.type):
        return [repr(value) for value in column.to_pylist()]
    return ["\0" if value is None else value for value in categories_in(column)]


def splits_by_column(table: "pyarrow.Table", name: str) -> dict[str, Split]:
    """Divides rows by the usual names of splits in a column.

    Raises:
      InputError: another name, or none for training.
    """
    values = [value or "" for value in categories_in(table[name])]
    known = {value: split_of(value) for value in set(values)}
    strange = sorted(value for value, split in known.items() if split is None)
    if strange:
        raise InputError(
            f"split = {name}; row {values.index(strange[0]) + 1} has {strange[0]!r} there: expected"
            " train, validation or test"
        )
    found = np.array([str(known[value]) for value in values])
    if TRAIN not in found:
        raise InputError(f"split = {name}; no row is of train: expected some")
    return _in_order({split: np.flatnonzero(found == split) for split in (TRAIN, VALIDATION, TEST)})


def _in_order(splits: dict[str, Split]) -> dict[str, Split]:
    return {split: splits[split] for split in (TRAIN, VALIDATION, TEST) if len(splits[split])}
