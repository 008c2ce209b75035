"""Training batches of several shapes (see `data.pairs.BucketedPairs`). Each column is [row, pair,
length]; the shape of a batch says how many pairs of a row, and how many of their tokens, count."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Int

from jaxmodels.protocol import Batch, PyTree

Bucket = tuple[int, int, int]  # pairs in a row, length of source, length of target


def in_bucket(
    function: Callable[[Batch], PyTree],
    batch: Batch,
    buckets: Sequence[Bucket],
    targets: Mapping[str, bool],
) -> PyTree:
    """Applies a function to the pairs of a training batch, cut to the shape whose number the column
    "bucket" has in every row. The program of each shape is compiled once. A batch without
    "bucket" is passed on as it is.

    targets: the columns of tokens; true for those that have the length of a target.
    """
    if "bucket" not in batch:
        return function(batch)

    def cut(bucket: Bucket) -> Batch:
        pairs, source, target = bucket
        lengths = {name: target if is_target else source for name, is_target in targets.items()}
        return {
            name: batch[name][:, :pairs, :length].reshape(-1, length)
            for name, length in lengths.items()
        }

    branches = [partial(lambda bucket, _: function(cut(bucket)), bucket) for bucket in buckets]
    return switch(batch["bucket"][0], branches)


def switch(number: Int[Array, ""] | int, branches: Sequence[Callable[[None], Any]]) -> Any:
    """Calls the branch of a number; one branch alone needs no number."""
    return branches[0](None) if len(branches) == 1 else jax.lax.switch(number, branches, None)
