"""A split that is whole on the device and indexed inside the compiled step."""

from collections.abc import Iterable, Iterator, Mapping

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxmodels.errors import InputError
from jaxmodels.order import Order
from jaxmodels.protocol import Batch, BatchSpec


class Resident:
    """Columns that lead with the example axis, all of one length: a source of batches (see
    `jaxmodels.train.experiment.Source`) for which the host sends nothing but row numbers.

    Raises:
      InputError: no column, no example, or columns of different lengths.
    """

    bytes_sent = 4

    def __init__(self, columns: Mapping[str, np.ndarray]):
        lengths = {name: len(column) for name, column in columns.items()}
        self.arrays = dict(columns)
        self.size = next(iter(lengths.values()), 0)
        if len(set(lengths.values())) != 1 or not self.size:
            raise InputError(f"columns of lengths {lengths}; expected one length of at least 1")

    def spec(self, batch_size: int) -> BatchSpec:
        """Shapes and types of a batch."""
        return {
            name: jax.ShapeDtypeStruct((batch_size, *column.shape[1:]), column.dtype)
            for name, column in self.arrays.items()
        }

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """For each span of steps their rows, [length, batch]."""
        for start, stop in spans:
            missing = length - (stop - start)
            yield {"row": np.pad(order.rows(start, stop), [(0, missing), (0, 0)])}

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """These examples, on the host."""
        return {name: np.asarray(column[rows]) for name, column in self.arrays.items()}

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """The batch of one step; traceable."""
        return {
            name: column.at[sent["row"]].get(mode="promise_in_bounds")
            for name, column in arrays.items()
        }
