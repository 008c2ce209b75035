"""The order of training examples, a function of (seed, step) alone."""

from functools import lru_cache

import numpy as np
from jaxtyping import Int


@lru_cache(maxsize=4)
def permutation(size: int, seed: int, epoch: int) -> Int[np.ndarray, " size"]:
    """The order of one epoch: the ranks of Philox bits keyed by (seed, epoch).

    Philox (Salmon et al. 2011) is counter-based and its raw bits are the same in every version of
    numpy, which `Generator.permutation` does not promise.
    """
    bits = np.random.Philox(key=(seed, epoch)).random_raw(size)
    return np.argsort(bits, kind="stable").astype(np.int32)


def sample_order(
    size: int, batch_size: int, seed: int, start: int, stop: int
) -> Int[np.ndarray, "stop-start batch"]:
    """The examples of steps start..stop-1, out of `size`.

    Example j of step t has position p = t * batch + j, belongs to epoch p // size and is
    permutation(epoch)[p % size]: batches straddle epochs, every epoch shows every example once.
    """
    position, end = start * batch_size, stop * batch_size
    pieces = []
    while position < end:
        epoch, offset = divmod(position, size)
        piece = permutation(size, seed, epoch)[offset : offset + end - position]
        pieces.append(piece)
        position += len(piece)
    return np.concatenate(pieces).reshape(stop - start, batch_size)
