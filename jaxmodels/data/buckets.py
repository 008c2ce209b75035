"""Training batches of few shapes: examples of similar lengths stand together, with less padding."""

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
_HARDLY_MORE = 1.05  # times the tokens that more shapes would have

Lengths = Int[np.ndarray, "example side"]  # of one text or of several, as they stand in their rows


class Bucket(NamedTuple):
    """A shape of batches.

    lengths: what columns of tokens are cut to, those of the first text to the first.
    examples: how many of them stand in each row of a batch, on an axis of their own; None: a row is
      an example.
    """

    lengths: tuple[int, ...]
    examples: int | None = None

    def __str__(self) -> str:
        lengths = " + ".join(map(str, self.lengths))
        return lengths if self.examples is None else f"{self.examples} of {lengths}"

    def values(self) -> list[int | None]:
        """Returns what `of_values` makes the same bucket of, as JSON values."""
        return [self.examples, *self.lengths]

    @classmethod
    def of_values(cls, values: Sequence[Any]) -> "Bucket":
        """Makes the bucket of which these are the `values`."""
        return cls(tuple(values[1:]), values[0])


def choose_buckets(lengths: Lengths, most: tuple[int, ...], count: int) -> tuple[Bucket, ...]:
    """Chooses the buckets, the shortest first, that have the least padding for examples of these
    lengths: at most `count`, and fewer where that adds hardly any padding. The last has the lengths
    `most`. A row is an example.
    """
    steps = range(1, _LEVELS + 1)
    sizes = [[min(side, _up(side * step / _LEVELS)) for side in most] for step in steps]
    levels = _smallest(lengths, sizes)
    numbers = np.bincount(levels, minlength=_LEVELS)
    # costs[k][j]: least tokens of examples up to level j in k + 1 buckets; j ends the last.
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
    return tuple(Bucket(tuple(sizes[j])) for j in reversed(ends))


def filled(buckets: Sequence[Bucket]) -> tuple[Bucket, ...]:
    """Puts as many examples into each row as have about the tokens of one of the last bucket."""
    room = sum(buckets[-1].lengths)
    return tuple(bucket._replace(examples=round(room / sum(bucket.lengths))) for bucket in buckets)


def bucket_of(lengths: Lengths, buckets: Sequence[Bucket]) -> Int[np.ndarray, " example"]:
    """Gives each example the number of the smallest bucket that it fits, or of the last."""
    return _smallest(lengths, [bucket.lengths for bucket in buckets])


def _up(length: float) -> int:
    return int(-(-length // _MULTIPLE) * _MULTIPLE)


def _smallest(lengths: Lengths, sizes: Sequence[Sequence[int]]) -> Int[np.ndarray, " example"]:
    fits: Any = (lengths[:, None] <= np.array(sizes)).all(axis=2)
    fits[:, -1] = True
    return np.argmax(fits, axis=1)


class Bucketed:
    """A source of training batches (see `jaxmodels.protocol.Source`), each of one bucket.

    Columns, [row, length, ...], are sent whole, and "bucket" is the number of the bucket in every
    row, which says how much of them counts. Where buckets have a number of examples, columns are
    [row, example, length, ...] with the most of any bucket. See `objectives.bucketed.in_bucket`.

    The bucket and the examples of a step are functions of (seed, step). An epoch shows every
    example once. Buckets come in a random order, and as often as they have batches, so that all get
    through their examples at the same pace; batches of a bucket straddle its epochs.
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
        number = bucket_of(lengths, buckets)
        self._members = [np.flatnonzero(number == each) for each in range(len(buckets))]
        self._counts = [bucket.examples or 1 for bucket in buckets]  # in a row
        self._has_axis = any(bucket.examples is not None for bucket in buckets)
        rows = [-(-len(some) // count) for some, count in zip(self._members, self._counts)]
        self.size = sum(rows)
        self.bytes_sent = 4 * (max(self._counts) + 1)

    def spec(self, batch_size: int) -> BatchSpec:
        """Returns the shapes and types of a batch."""
        first = (batch_size, max(self._counts)) if self._has_axis else (batch_size,)
        columns = {
            name: jax.ShapeDtypeStruct((*first, *column.shape[1:]), column.dtype)
            for name, column in self.arrays.items()
        }
        return {**columns, "bucket": jax.ShapeDtypeStruct((batch_size,), np.int32)}

    @property
    def tokens(self) -> int:
        """The places for tokens in a row, as a mean over the steps."""
        places = [count * sum(b.lengths) for count, b in zip(self._counts, self.buckets)]
        shares = (share for share, _ in self.kinds(1))
        return round(sum(share * each for share, each in zip(shares, places)))

    def kinds(self, batch_size: int) -> list[tuple[float, dict[str, np.ndarray]]]:
        """Returns the share of the steps that each bucket has, and what all its batches have."""
        steps = np.array([len(some) / count for some, count in zip(self._members, self._counts)])
        return [
            (float(share), {"bucket": np.full(batch_size, number, np.int32)})
            for number, share in enumerate(steps / steps.sum())
        ]

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the bucket and the examples of each span of steps."""
        for start, stop in spans:
            columns = order.positions(start, stop) % order.batch_size
            numbers, examples = self._steps(order, start, stop)
            some = np.take_along_axis(examples, columns[..., None], axis=1)
            buckets = np.broadcast_to(numbers[:, None], columns.shape)
            missing = (0, length - (stop - start))
            some = np.pad(some, [missing, (0, 0), (0, 0)])
            yield {
                "example": some if self._has_axis else some[..., 0],
                "bucket": np.pad(buckets, [missing, (0, 0)]),
            }

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """Returns these examples, on the host."""
        return {name: np.asarray(column[rows]) for name, column in self.arrays.items()}

    def rows(self, order: Order, step: int) -> Int[np.ndarray, " row"]:
        """Returns the example of each row of the batch of a step, of several the first."""
        return self._steps(order, step, step + 1)[1][0, :, 0]

    def keys(self, order: Order, step: int) -> list[str]:
        """Names what each row of the batch of a step holds."""
        numbers, examples = self._steps(order, step, step + 1)
        count = self._counts[numbers[0]]
        return ["+".join(map(self.key, row[:count].tolist())) for row in examples[0]]

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """Returns the batch of one step; traceable."""
        columns = {
            name: column.at[sent["example"]].get(mode="promise_in_bounds")
            for name, column in arrays.items()
        }
        return {**columns, "bucket": sent["bucket"]}

    def _steps(
        self, order: Order, start: int, stop: int
    ) -> tuple[Int[np.ndarray, " step"], Int[np.ndarray, "step row example"]]:
        """Gives the bucket and the examples of the whole batches of steps start..stop-1."""
        seed = 0 if order.seed is None else order.seed
        counts = [order.batch_size * count for count in self._counts]
        numbers, batches = self._places(counts, seed, start, stop)
        examples = np.zeros((stop - start, order.batch_size, max(self._counts)), np.int32)
        for number, (members, count) in enumerate(zip(self._members, counts)):
            steps = np.flatnonzero(numbers == number)
            if not len(steps):
                continue
            first, last = int(batches[steps].min()), int(batches[steps].max())
            found = sample_order(len(members), count, seed, first, last + 1)
            chosen = members[found[batches[steps] - first]]
            chosen = chosen.reshape(len(steps), order.batch_size, -1)
            examples[steps, :, : chosen.shape[2]] = chosen
        return numbers, examples

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
