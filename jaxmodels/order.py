"""The order of examples, a function of (seed, step) alone."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int


@lru_cache(maxsize=4)
def permutation(size: int, seed: int, epoch: int) -> Int[np.ndarray, " size"]:
    """Returns the order of one epoch: the ranks of Philox bits keyed by (seed, epoch).

    Philox (Salmon et al. 2011) is counter-based and its raw bits are the same in every version of
    numpy, which `Generator.permutation` does not promise.
    """
    bits = np.random.Philox(key=(seed, epoch)).random_raw(size)
    return np.argsort(bits, kind="stable").astype(np.int32)


def sample_order(
    size: int, batch_size: int, seed: int, start: int, stop: int
) -> Int[np.ndarray, "steps batch"]:
    """Returns the examples of steps start..stop-1, out of `size`.

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


@dataclass(frozen=True)
class Order:
    """The order of `size` examples in batches, and the part of each batch that this host makes.

    seed: None: one pass in order, whose last batch is padded with the last example.
    part: (index, count): this host makes part `index` of `count` equal parts.
    """

    size: int
    batch_size: int
    seed: int | None = None
    part: tuple[int, int] = (0, 1)

    def rows(self, start: int, stop: int) -> Int[np.ndarray, "steps part"]:
        """Returns the examples of steps start..stop-1."""
        if self.seed is None:
            return np.minimum(self.positions(start, stop), self.size - 1).astype(np.int32)
        whole = sample_order(self.size, self.batch_size, self.seed, start, stop)
        return whole[:, self._columns()]

    def positions(self, start: int, stop: int) -> Int[np.ndarray, "steps part"]:
        """Returns their positions in the sequence of all examples of all steps."""
        first = np.arange(start, stop, dtype=np.int64)[:, None] * self.batch_size
        return first + np.arange(self.batch_size)[self._columns()]

    @property
    def batches(self) -> int:
        """The number of batches of one pass."""
        return -(-self.size // self.batch_size)

    def _columns(self) -> slice:
        index, count = self.part
        return slice(index * self.batch_size // count, (index + 1) * self.batch_size // count)
