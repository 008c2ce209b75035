"""What each column of a table is: numbers, days, categories, or nothing to learn from."""

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmodels.data.tables.values import Numbers, categories_in, days_in, numbers_in

if TYPE_CHECKING:
    import pyarrow

Kind = Literal["number", "date", "category"]

_MOSTLY = 0.9  # share of the values of a column that decides its kind; the others are bad
_FEW = 20  # different texts that are categories in a table of any length


class Inferred(NamedTuple):
    """What a column is, or why it is left out."""

    kind: Kind | None
    wrong: Bool[np.ndarray, " row"]  # rows whose value is not of this kind
    reason: str = ""


def infer(
    name: str, column: "pyarrow.ChunkedArray", categorical: bool = False, numeric: bool = False
) -> Inferred:
    """Infers the kind of a column from all of its values.

    It holds numbers, or days, where at least 90% of its values are such. Other columns hold
    categories. Left out are columns that are empty or constant, texts that are nearly all
    different, lists, and whole numbers that only count or name the rows.

    categorical, numeric: the user says that it holds categories, or numbers.
    """
    import pyarrow as pa

    good = np.zeros(len(column), bool)
    present = int(len(column) - column.null_count)
    if not present:
        return Inferred(None, good, "empty")
    if pa.types.is_list(column.type):
        return Inferred(None, good, "lists")
    if numeric:
        return Inferred("number", numbers_in(column).wrong)
    if categorical or pa.types.is_boolean(column.type):
        return _category(column, good, categorical)
    days = days_in(column)
    if _is_mostly(days, present):
        return _unless_constant("date", days)
    numbers = numbers_in(column)
    if not _is_mostly(numbers, present):
        return _category(column, good)
    if _counts_rows(name, numbers.values):
        return Inferred(None, good, "numbers of the rows")
    return _unless_constant("number", numbers)


def _is_mostly(found: Numbers, present: int) -> bool:
    return present - int(found.wrong.sum()) >= _MOSTLY * present


def _unless_constant(kind: Kind, found: Numbers) -> Inferred:
    values, wrong = found
    known = values[~np.isnan(values)]
    if not len(known):
        return Inferred(None, np.zeros(len(values), bool), "empty")
    if len(known) == len(values) - wrong.sum() and known.min() == known.max():
        return Inferred(None, np.zeros(len(values), bool), "constant")
    return Inferred(kind, wrong)


def _category(
    column: "pyarrow.ChunkedArray", good: Bool[np.ndarray, " row"], forced: bool = False
) -> Inferred:
    values = categories_in(column)
    present = [value for value in values if value is not None]
    distinct = len(set(present))
    if distinct == 1 and len(present) == len(values):
        return Inferred(None, good, "constant")
    if distinct > max(_FEW, len(present) / 2) and not forced:
        return Inferred(None, good, f"{distinct:,} different texts in {len(present):,} rows")
    return Inferred("category", good)


def _counts_rows(name: str, values: np.ndarray) -> bool:
    """Whether values are the numbers from one to another, each once, or different whole numbers of
    a column that is called an identifier."""
    if len(values) < 3 or np.isnan(values).any() or (values % 1).any():
        return False
    ordered = np.sort(values)
    steps = np.diff(ordered)
    called = name.casefold() == "id" or name.casefold().endswith("_id") or name.endswith("Id")
    return bool((steps == 1).all() or (called and (steps > 0).all()))
