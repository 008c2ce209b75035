"""Records that are read and worked on by threads, a few batches at a time."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from jaxtyping import Int
from numpy import ndarray

from jaxmodels.data.dataset import BadRecord, Record, Records

_BATCH = 64  # large photographs of one batch are tens of megabytes, for every thread

Result = TypeVar("Result")


def in_threads(
    function: Callable[[ndarray], Result], rows: Int[ndarray, " row"]
) -> Iterator[Result]:
    """The function of every batch of rows, in order."""
    starts = range(0, len(rows), _BATCH)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(function, (rows[start : start + _BATCH] for start in starts))


def read_each(records: Records, rows: Sequence[int]) -> Sequence[Record | BadRecord]:
    """The records of these rows, or what is wrong with them."""
    try:
        return records.read(rows)
    except BadRecord as error:
        # One bad record fails all that are read with it.
        return [error] if len(rows) == 1 else [read_each(records, [row])[0] for row in rows]
