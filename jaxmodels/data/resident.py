"""A split that is whole on the device and indexed inside the compiled step."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxmodels.data.dataset import Columns, ColumnSpec, Decode, Records, common_length, put_decoded
from jaxmodels.data.kept import kept, reserve
from jaxmodels.data.threads import in_threads
from jaxmodels.order import Order
from jaxmodels.protocol import Batch, BatchSpec


class Resident:
    """A source of batches (see `jaxmodels.protocol.Source`) whose columns, [example, ...], lie on
    the device, so that the host sends only row numbers.

    key: names an example by its row; None: its row is its name.

    Raises:
      InputError: no column, no example, or columns of different lengths.
    """

    bytes_sent = 4

    def __init__(self, columns: Columns, key: Callable[[int], str] | None = None):
        self.size = common_length(columns)
        self.arrays = dict(columns)
        self.key = key or str

    def spec(self, batch_size: int) -> BatchSpec:
        """Returns the shapes and types of a batch."""
        return {
            name: jax.ShapeDtypeStruct((batch_size, *column.shape[1:]), column.dtype)
            for name, column in self.arrays.items()
        }

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the rows of each span of steps, [length, part of the batch]."""
        for start, stop in spans:
            missing = length - (stop - start)
            yield {"row": np.pad(order.rows(start, stop), [(0, missing), (0, 0)])}

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """Returns these examples, on the host."""
        return {name: np.asarray(column[rows]) for name, column in self.arrays.items()}

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """Returns the batch of one step; traceable."""
        return {
            name: column.at[sent["row"]].get(mode="promise_in_bounds")
            for name, column in arrays.items()
        }


def decode_once(
    name: str, records: Records, decode: Decode, spec: ColumnSpec, folder: Path
) -> dict[str, np.ndarray]:
    """Returns the columns of all records, decoded as for evaluation and memory-mapped.

    They are decoded at the first call and `kept` in `folder`. Damaged columns are decoded again.

    name: that of the records, for a line on standard error.

    Raises:
      BadRecord: a record that cannot be read or decoded.
      InputError: a column of another shape than `spec` says, or a cache that cannot be written.
    """

    def make(partial: Path) -> None:
        print(f"decoding {len(records):,} records of {name}, once", file=sys.stderr)
        _decode(records, decode, spec, partial)

    folder = kept(folder, make)
    return {column: np.load(folder / f"{column}.npy", mmap_mode="r") for column in spec}


def _decode(records: Records, decode: Decode, spec: ColumnSpec, folder: Path) -> None:
    columns = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", like.dtype, (len(records), *like.shape)
        )
        for name, like in spec.items()
    }
    for name in columns:
        reserve(folder / f"{name}.npy")

    def fill(rows: np.ndarray) -> None:
        for row, record in zip(rows.tolist(), records.read(rows.tolist())):
            put_decoded(columns, row, decode(record, None))

    for _ in in_threads(fill, np.arange(len(records))):
        pass
    for column in columns.values():
        column.flush()
