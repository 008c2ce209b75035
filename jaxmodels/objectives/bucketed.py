"""Training batches of several shapes (see `data.buckets.Bucketed`)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, Shaped

from jaxmodels.protocol import Batch, PyTree

# The lengths of columns of tokens, and the examples in a row; None: a row is an example.
Bucket = tuple[tuple[int, ...], int | None]


def in_bucket(
    function: Callable[[Batch], PyTree],
    batch: Batch,
    buckets: Sequence[Bucket],
    sides: Mapping[str, int],
) -> PyTree:
    """Applies a function to the examples of a training batch, cut to the shape whose number the
    column "bucket" has in every row. The program of each shape is compiled once. A batch without
    "bucket" is passed on as it is.

    batch: columns [row, ...] or trees of them, or [row, example, ...] where buckets have a number
      of examples. These become one axis.
    sides: columns of tokens, [..., length], and the place of their length in each bucket.
    """
    if "bucket" not in batch:
        return function(batch)
    columns = {name: column for name, column in batch.items() if name != "bucket"}

    def cut(bucket: Bucket) -> Batch:
        return {
            name: jax.tree.map(partial(_cut, bucket, sides.get(name)), column)
            for name, column in columns.items()
        }

    numbers = batch["bucket"]
    if not isinstance(numbers, jax.core.Tracer):
        # The number is known, as where the work of one shape is counted.
        return function(cut(buckets[int(np.asarray(numbers)[0])]))
    branches = [partial(lambda bucket, _: function(cut(bucket)), bucket) for bucket in buckets]
    return switch(numbers[0], branches)


def _cut(
    bucket: Bucket, side: int | None, column: Shaped[Array, "row ..."]
) -> Shaped[Array, "example ..."]:
    lengths, examples = bucket
    if examples is not None:
        column = column[:, :examples]
        column = column.reshape(-1, *column.shape[2:])
    return column if side is None else column[:, : lengths[side]]


def switch(number: Int[Array, ""] | int, branches: Sequence[Callable[[None], Any]]) -> Any:
    """Calls the branch of a number; one branch alone needs no number."""
    return branches[0](None) if len(branches) == 1 else jax.lax.switch(number, branches, None)
