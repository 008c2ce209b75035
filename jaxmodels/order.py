"""The order of examples, a function of (seed, step) alone."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt64

# An epoch of at most so many examples is sorted, which takes 24 bytes for each. The orders of
# smaller data sets are kept to the bit.
MOST_SORTED = 1 << 24
_ROUNDS = 8


@lru_cache(maxsize=4)
def permutation(size: int, seed: int, epoch: int) -> Int[np.ndarray, " size"]:
    """Returns the order of one epoch: the ranks of Philox bits keyed by (seed, epoch).

    Philox (Salmon et al. 2011) is counter-based and its raw bits are the same in every version of
    numpy, which `Generator.permutation` does not promise.
    """
    bits = np.random.Philox(key=(seed, epoch)).random_raw(size)
    return np.argsort(bits, kind="stable").astype(np.int32)


def shuffled(
    places: Int[np.ndarray, " count"], size: int, seed: int, epoch: int
) -> Int[np.ndarray, " count"]:
    """Returns the examples at some places of the order of one epoch, in memory of the number of
    places: a permutation of 0..size-1 for any size.

    It is a Feistel network on the bits of the place (Luby and Rackoff 1988), whose two halves may
    differ by a bit, with keys from Philox and the mixing of MurmurHash3. A result of `size` or more
    is encrypted again until it is below (cycle walking; Black and Rogaway 2002, section 3).
    """
    keys = np.random.Philox(key=(seed, epoch)).random_raw(_ROUNDS)
    bits = max(2, (size - 1).bit_length())
    found = _feistel(places.astype(np.uint64), bits, keys)
    while (outside := found >= size).any():
        found[outside] = _feistel(found[outside], bits, keys)
    return found.astype(np.int64)


def _feistel(
    values: UInt64[np.ndarray, " count"], bits: int, keys: UInt64[np.ndarray, " round"]
) -> UInt64[np.ndarray, " count"]:
    low = np.uint64(bits // 2)
    masks = np.uint64((1 << (bits - bits // 2)) - 1), np.uint64((1 << (bits // 2)) - 1)
    halves = [values >> low, values & masks[1]]
    for number, key in enumerate(keys):
        changed = number % 2
        halves[changed] ^= _mixed(halves[1 - changed] ^ key) & masks[changed]
    return halves[0] << low | halves[1]


def _mixed(values: UInt64[np.ndarray, " count"]) -> UInt64[np.ndarray, " count"]:
    """Mixes the bits of each value, as the last lines of MurmurHash3's 64 bits do."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def sample_order(
    size: int, batch_size: int, seed: int, start: int, stop: int
) -> Int[np.ndarray, "steps batch"]:
    """Returns the examples of steps start..stop-1, out of `size`.

    Example j of step t has position p = t * batch + j, belongs to epoch p // size and is
    permutation(epoch)[p % size]: batches straddle epochs, every epoch shows every example once.
    Above `MOST_SORTED` examples the permutation is that of `shuffled`.
    """
    position, end = start * batch_size, stop * batch_size
    pieces = []
    while position < end:
        epoch, offset = divmod(position, size)
        last = min(size, offset + end - position)
        if size <= MOST_SORTED:
            piece = permutation(size, seed, epoch)[offset:last]
        else:
            piece = shuffled(np.arange(offset, last), size, seed, epoch)
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
            rows = np.minimum(self.positions(start, stop), self.size - 1)
            return rows if self.size > 1 << 31 else rows.astype(np.int32)
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
