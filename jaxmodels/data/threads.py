"""Threads that read and process records, a batch each."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from jaxtyping import Int
from numpy import ndarray

from jaxmodels.data.dataset import BadRecord, Record, Records

_BATCH = 64  # few, because each thread holds a batch: tens of megabytes of large photographs

Result = TypeVar("Result")
Item = TypeVar("Item")


def in_threads(
    function: Callable[[ndarray], Result], rows: Int[ndarray, " row"]
) -> Iterator[Result]:
    """Yields the results of a function for batches of rows, in order."""
    starts = range(0, len(rows), _BATCH)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(function, (rows[start : start + _BATCH] for start in starts))


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], most: int = 4
) -> Iterator[Result]:
    """Yields the results of a function for items, in order, from threads. At most `most` results
    are in memory at once."""
    with ThreadPoolExecutor(min(most, os.cpu_count() or 1)) as pool:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_each(records: Records, rows: Sequence[int]) -> Sequence[Record | BadRecord]:
    """Reads the records of these rows; the error of one that cannot be read is in its place."""
    try:
        return records.read(rows)
    except BadRecord as error:
        # A bad record fails the whole read, so each record is read alone.
        return [error] if len(rows) == 1 else [read_each(records, [row])[0] for row in rows]
