"""One pass over the records of a split: what each is like, and which are bad by themselves."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from jaxmodels.data.decoding import BadRecord, decode_image
from jaxmodels.data.normalization import moments_of
from jaxmodels.data.records import BadRow, EncodedImages, Part

_BATCH = 64  # large photographs of one batch are tens of megabytes, for every thread
_MOST_PIXELS = 0xFFFF  # on a side, which JPEG has too

Result = TypeVar("Result")


def scan(
    part: Part, channels: int, dtype: np.dtype, classes: int
) -> tuple[np.ndarray, list[BadRow]]:
    """A table with one line a row, of which those of bad rows are zero, and the bad rows.

    Columns: "good", "label" (-1: none), "height", "width", "hash" (of shape and pixels), "largest",
    and the `Moments` "total" and "square".
    """
    encoded = part.encoded

    def look_at(rows: np.ndarray) -> tuple[np.ndarray, list[BadRow]]:
        table, bad = np.zeros(len(rows), _columns(channels, dtype)), []
        for line, row, record in zip(table, rows.tolist(), _read(encoded, rows.tolist())):
            try:
                if isinstance(record, BadRecord):
                    raise record
                _fill(line, record, encoded.size, channels, dtype, classes)
            except BadRecord as error:
                bad.append(part.bad(row, error.kind, error))
        return table, bad

    tables, bad = zip(*in_threads(look_at, part.rows))
    return np.concatenate(tables), [row for some in bad for row in some]


def in_threads(function: Callable[[np.ndarray], Result], rows: np.ndarray) -> Iterator[Result]:
    """The function of every batch of rows, in order; a few batches at a time are in memory."""
    starts = range(0, len(rows), _BATCH)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(function, (rows[start : start + _BATCH] for start in starts))


def common_format(encoded: EncodedImages, probes: int = 100) -> tuple[int, np.dtype]:
    """The number of channels and the type of the pixels of most images, by some of them, for a
    data set that does not say."""
    rows = np.unique(np.linspace(0, len(encoded) - 1, probes).astype(int)).tolist()
    found = [(image.shape[2], image.dtype) for image in _decodable(_read(encoded, rows))]
    return max(found, key=found.count, default=(3, np.dtype(np.uint8)))


def _decodable(records: Iterable[tuple[bytes, int] | BadRecord]) -> Iterator[np.ndarray]:
    for record in records:
        if not isinstance(record, BadRecord):
            try:
                yield decode_image(record[0])
            except BadRecord:
                continue


def _read(encoded: EncodedImages, rows: Sequence[int]) -> list[tuple[bytes, int] | BadRecord]:
    try:
        return encoded.read(rows)
    except BadRecord as error:
        # One bad record fails all that are read with it.
        return [error] if len(rows) == 1 else [_read(encoded, [row])[0] for row in rows]


def _columns(channels: int, dtype: np.dtype) -> np.dtype:
    sums = np.float64 if np.issubdtype(dtype, np.floating) else np.int64
    return np.dtype(
        [
            ("good", bool),
            ("label", np.int32),
            ("height", np.uint16),
            ("width", np.uint16),
            ("hash", np.uint64),
            ("largest", np.float64),
            ("total", sums, (channels,)),
            ("square", sums, (channels,)),
        ]
    )


def _fill(line, record, size, channels: int, dtype: np.dtype, classes: int) -> None:
    encoded, label = record
    image = decode_image(encoded, channels, dtype)
    height, width = image.shape[:2]
    if any(said not in (None, found) for said, found in zip(size, (height, width))):
        said = tuple("any" if side is None else side for side in size)
        raise BadRecord(
            f"is {height}x{width} pixels; expected {said[0]}x{said[1]} as declared", "shape"
        )
    if max(height, width) > _MOST_PIXELS:
        raise BadRecord(f"is {height}x{width} pixels; expected at most {_MOST_PIXELS}", "size")
    if np.issubdtype(dtype, np.floating) and not np.isfinite(image).all():
        raise BadRecord("has pixels that are not finite", "non-finite")
    if classes and not 0 <= label < classes:
        meaning = " (unknown)" if label == -1 else ""
        raise BadRecord(f"has label {label}{meaning}; expected 0 to {classes - 1}", "label")
    digest = hashlib.blake2b(f"{height}x{width}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image))
    _, total, square = moments_of(image)
    line["good"] = True
    line["label"] = label if classes else -1
    line["height"], line["width"] = height, width
    line["hash"] = int.from_bytes(digest.digest(), "little")
    line["largest"] = image.max()
    line["total"], line["square"] = total, square
