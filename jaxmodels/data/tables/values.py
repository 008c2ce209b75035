"""The values of one column of a table: as numbers, as days, as categories or as lists."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    import pyarrow

_DAY = 86_400  # seconds
_MOST = 1e150  # in size, so that squares of numbers can be added


class Numbers(NamedTuple):
    """The numbers of a column. What is missing is NaN, as is what cannot be read as a number."""

    values: Float[np.ndarray, " row"]
    wrong: Bool[np.ndarray, " row"]  # there is a value, and it cannot be read


def numbers_in(column: "pyarrow.ChunkedArray") -> Numbers:
    """Reads a column as numbers; infinite ones are missing, True is 1. Finite ones beyond 1e150
    cannot be read, because statistics of them would overflow."""
    import pyarrow as pa

    if not pa.types.is_string(column.type):
        if pa.types.is_list(column.type) or pa.types.is_temporal(column.type):
            return _unreadable(column)
        return _finite(column.cast(pa.float64()))
    try:
        return _finite(column.cast(pa.float64()))
    except pa.ArrowInvalid:
        return _each(column, _number)


def days_in(column: "pyarrow.ChunkedArray") -> Numbers:
    """Reads a column of times, or of texts as ISO 8601 has them, as days since 1970 (UTC)."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind):
        # Arrow reads 2024 alone as a number of days.
        return _each(column, _day)
    if not pa.types.is_temporal(kind):
        return _unreadable(column)
    seconds = column.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64())
    values, wrong = _finite(seconds)
    return Numbers(values / (1e6 * _DAY), wrong)


def categories_in(column: "pyarrow.ChunkedArray") -> list[str | None]:
    """Writes the values of a column as texts, whole numbers without a point; missing are None."""
    return [None if value is None else category_of(value) for value in column.to_pylist()]


def category_of(value: object) -> str | None:
    """Writes a value as a text; a number that is not finite is missing."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    text = str(value)
    return text.casefold() if text.casefold() in ("true", "false") else text


def lists_in(column: "pyarrow.ChunkedArray", separator: str) -> list[list[str] | None]:
    """Reads a column of lists, where missing are None, or of texts that a separator divides, where
    an empty one is an empty list."""
    import pyarrow as pa

    is_text, lists = pa.types.is_string(column.type), []
    for value in column.to_pylist():
        if is_text:
            value = (value or "").split(separator)
        parts = value if isinstance(value, list) or value is None else [value]
        texts = None if parts is None else [str(part).strip() for part in parts if part is not None]
        lists.append(None if texts is None else list(dict.fromkeys(filter(None, texts))))
    return lists


def _unreadable(column: "pyarrow.ChunkedArray") -> Numbers:
    present = ~np.asarray(column.is_null())
    return Numbers(np.full(len(column), np.nan), present)


def _finite(column: "pyarrow.ChunkedArray") -> Numbers:
    values = np.array(column.to_numpy(), np.float64)
    values[~np.isfinite(values)] = np.nan
    wrong = np.abs(values) > _MOST
    values[wrong] = np.nan
    return Numbers(values, wrong)


def _each(column: "pyarrow.ChunkedArray", read: Callable[[str], float | None]) -> Numbers:
    values, wrong = np.full(len(column), np.nan), np.zeros(len(column), bool)
    for row, text in enumerate(column.to_pylist()):
        if text is None:
            continue
        number = read(text)
        if number is None or _MOST < abs(number) < math.inf:
            wrong[row] = True
        else:
            values[row] = number if math.isfinite(number) else math.nan
    return Numbers(values, wrong)


def _number(text: str) -> float | None:
    try:
        # Python takes 1_000 for a number, which tables do not write.
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _day(text: str) -> float | None:
    if len(text) < len("2024-01-01"):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    return time.timestamp() / _DAY
