"""Batches of about equal numbers of tokens: pairs of similar lengths, more of them where they are
short, in few shapes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxmodels.data.dataset import Columns
from jaxmodels.order import Order, permutation, sample_order
from jaxmodels.protocol import Batch, BatchSpec

_LEVELS = 16  # lengths that are compared, as shares of the longest
_MULTIPLE = 4  # of lengths
_HARDLY_MORE = 1.05  # times the tokens that more buckets would have

Lengths = Int[np.ndarray, "pair 2"]  # of source and target, as they stand in their rows


class Bucket(NamedTuple):
    """A shape of batches: `pairs` of them stand in each row of a batch, cut to these lengths."""

    pairs: int
    source: int
    target: int


def choose_buckets(lengths: Lengths, most: tuple[int, int], count: int) -> tuple[Bucket, ...]:
    """Chooses the buckets, the shortest first, that have the least padding for pairs of these
    lengths: at most `count`, and fewer where that adds hardly any padding. The last has the lengths
    `most`, and one pair in each row.
    """
    steps = range(1, _LEVELS + 1)
    sizes = [[min(side, _up(side * step / _LEVELS)) for side in most] for step in steps]
    levels = _smallest(lengths, sizes)
    numbers = np.bincount(levels, minlength=_LEVELS)
    # costs[k][j]: least tokens of pairs up to level j in k + 1 buckets, of which j ends the last.
    tokens = np.array([sum(size) for size in sizes])
    before = np.concatenate([[0], np.cumsum(numbers)])
    costs = [before[1:] * tokens]
    chosen: list[list[int]] = [[-1] * _LEVELS]
    for _ in range(1, count):
        options = [
            [costs[-1][i] + (before[j + 1] - before[i + 1]) * tokens[j] for i in range(j)]
            or [np.inf]
            for j in range(_LEVELS)
        ]
        chosen.append([int(np.argmin(row)) for row in options])
        costs.append(np.array([min(row) for row in options]))
    totals = np.array([cost[-1] for cost in costs])
    best = int(np.argmax(totals <= _HARDLY_MORE * totals.min()))
    ends = [_LEVELS - 1]
    for k in range(best, 0, -1):
        ends.append(chosen[k][ends[-1]])
    room = tokens[-1]
    return tuple(Bucket(round(room / tokens[j]), *sizes[j]) for j in reversed(ends))


def bucket_of(lengths: Lengths, buckets: Sequence[Bucket]) -> Int[np.ndarray, " pair"]:
    """Gives each pair the number of the smallest bucket that it fits, or of the last."""
    return _smallest(lengths, [[bucket.source, bucket.target] for bucket in buckets])


def _up(length: float) -> int:
    return int(-(-length // _MULTIPLE) * _MULTIPLE)


def _smallest(lengths: Lengths, sizes: Sequence[Sequence[int]]) -> Int[np.ndarray, " pair"]:
    fits: Any = (lengths[:, None] <= np.array(sizes)).all(axis=2)
    fits[:, -1] = True
    return np.argmax(fits, axis=1)


class BucketedPairs:
    """A source of training batches (see `jaxmodels.protocol.Source`), each of one bucket.

    A row of a batch holds as many pairs as the bucket says: "source", [row, pair, length], and
    "target" have the shape of the largest, of which `Bucket` says what counts, and "bucket" is its
    number in every row. So rows have about equal numbers of tokens.

    The bucket and the pairs of a step are functions of (seed, step). An epoch shows every pair
    once. Buckets come in a random order, and as often as they have batches, so that all get through
    their pairs at the same pace; batches of a bucket straddle its epochs.
    """

    def __init__(
        self,
        columns: Columns,
        lengths: Lengths,
        buckets: Sequence[Bucket],
        key: Callable[[int], str],
    ):
        self.arrays = dict(columns)
        self.buckets, self.key = tuple(buckets), key
        of_pair = bucket_of(lengths, buckets)
        self._members = [np.flatnonzero(of_pair == number) for number in range(len(buckets))]
        self._most = max(bucket.pairs for bucket in buckets)
        self.size = sum(
            -(-len(some) // bucket.pairs) for some, bucket in zip(self._members, buckets)
        )
        self.bytes_sent = 4 * (self._most + 1)

    def spec(self, batch_size: int) -> BatchSpec:
        """Returns the shapes and types of a batch."""
        shapes: dict[str, tuple[int, ...]] = {
            name: (batch_size, self._most, column.shape[1]) for name, column in self.arrays.items()
        }
        shapes["bucket"] = (batch_size,)
        return {name: jax.ShapeDtypeStruct(shape, np.int32) for name, shape in shapes.items()}

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the bucket and the rows of pairs of each span of steps."""
        for start, stop in spans:
            columns = order.positions(start, stop) % order.batch_size
            numbers, pairs = self._steps(order, start, stop)
            some = np.take_along_axis(pairs, columns[..., None], axis=1)
            buckets = np.broadcast_to(numbers[:, None], columns.shape)
            missing = (0, length - (stop - start))
            yield {
                "pair": np.pad(some, [missing, (0, 0), (0, 0)]),
                "bucket": np.pad(buckets, [missing, (0, 0)]),
            }

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """Returns these pairs, on the host."""
        return {name: np.asarray(column[rows]) for name, column in self.arrays.items()}

    def keys(self, order: Order, step: int) -> list[str]:
        """Names what each row of the batch of a step holds."""
        numbers, pairs = self._steps(order, step, step + 1)
        count = self.buckets[numbers[0]].pairs
        return ["+".join(map(self.key, row[:count].tolist())) for row in pairs[0]]

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """Returns the batch of one step; traceable."""
        columns = {
            name: column.at[sent["pair"]].get(mode="promise_in_bounds")
            for name, column in arrays.items()
        }
        return {**columns, "bucket": sent["bucket"]}

    def _steps(
        self, order: Order, start: int, stop: int
    ) -> tuple[Int[np.ndarray, " step"], Int[np.ndarray, "step row pair"]]:
        """Gives the bucket and the pairs of the whole batches of steps start..stop-1."""
        seed = 0 if order.seed is None else order.seed
        counts = [order.batch_size * bucket.pairs for bucket in self.buckets]
        numbers, batches = self._places(counts, seed, start, stop)
        pairs = np.zeros((stop - start, order.batch_size, self._most), np.int32)
        for number, (members, count) in enumerate(zip(self._members, counts)):
            steps = np.flatnonzero(numbers == number)
            if not len(steps):
                continue
            first, last = int(batches[steps].min()), int(batches[steps].max())
            found = sample_order(len(members), count, seed, first, last + 1)
            chosen = members[found[batches[steps] - first]]
            chosen = chosen.reshape(len(steps), order.batch_size, -1)
            pairs[steps, :, : chosen.shape[2]] = chosen
        return numbers, pairs

    def _places(self, counts: Sequence[int], seed: int, start: int, stop: int):
        """Gives the bucket of each step, and which of the bucket's batches it has."""
        sizes = [len(members) for members in self._members]

        def begun(epoch: int) -> Int[np.ndarray, " bucket"]:
            """Counts the batches of each bucket that come before an epoch."""
            each = zip(sizes, counts)
            return np.array([epoch * size // count for size, count in each], np.int64)

        rate = sum(size / count for size, count in zip(sizes, counts))
        epoch = max(0, int(start / rate) - 1)
        numbers, batches, step = [], [], start
        while step < stop:
            first, after = begun(epoch), begun(epoch + 1)
            if int(after.sum()) <= step:
                epoch += 1
                continue
            each = after - first
            slots = permutation(int(each.sum()), seed, epoch)
            slots = slots[step - int(first.sum()) : stop - int(first.sum())]
            ends = np.cumsum(each)
            number = np.searchsorted(ends, slots, side="right")
            numbers.append(number)
            batches.append(first[number] + slots - (ends - each)[number])
            step += len(slots)
            epoch += 1
        return np.concatenate(numbers).astype(np.int32), np.concatenate(batches)
