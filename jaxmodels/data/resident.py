"""A split that is whole on the device and indexed inside the compiled step."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array

from jaxmodels.data.order import sample_order
from jaxmodels.errors import InputError
from jaxmodels.protocol import Batch, BatchSpec


class Resident:
    """Columns that lead with the example axis, all of one length.

    What the engine asks of a source of batches: `size` (examples), `spec`, what lies on the device
    (`arrays`), what the host sends for some steps (`order`, `once`) and how the two make a batch.

    Raises:
      InputError: no column, no example, or columns of different lengths.
    """

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

    def order(self, batch_size: int, seed: int, start: int, stop: int) -> dict[str, np.ndarray]:
        """For training steps start..stop-1 what the host sends, leading with the step."""
        return {"index": sample_order(self.size, batch_size, seed, start, stop)}

    def once(self, batch_size: int) -> dict[str, np.ndarray]:
        """For one pass over all examples in order, the last batch padded and marked in "valid",
        each example with its "position" in the split."""
        batches = -(-self.size // batch_size)
        index = np.arange(batches * batch_size, dtype=np.int32).reshape(batches, batch_size)
        return {"index": np.minimum(index, self.size - 1), "valid": index < self.size}

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """The batch of one step; traceable. `sent` is one step of what `order` or `once` gave."""
        rows = {
            name: column.at[sent["index"]].get(mode="promise_in_bounds")
            for name, column in arrays.items()
        }
        if "valid" not in sent:
            return rows
        return rows | {"valid": sent["valid"], "position": sent["index"]}
