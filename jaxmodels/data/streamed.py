"""A split that is read and decoded while the device works."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxmodels.data.dataset import ColumnSpec, Decode, Draw, Records, put_decoded
from jaxmodels.order import Order
from jaxmodels.protocol import Batch, BatchSpec

# Most records of one read, and most bytes. Small records are read many at a time, because a call to
# ArrayRecord costs far more than decoding one of them.
_READ_AT_ONCE = 2048
_BYTES_AT_ONCE = 1 << 24


class Streamed:
    """A source of batches (see `jaxmodels.protocol.Source`) that decodes records when they are due.
    The batches are those that `Resident` makes of the decoded columns.

    Each batch is a function of its step alone, so a run can resume with any number of workers.

    decode: makes a record's columns; in training it is given a Draw of the seed and the position.
    spec: shape and type of one example of each column.
    workers: processes that read and decode; 0: threads of this one, which suffice where decoding
      releases Python's lock, as it does for pictures.
    """

    arrays: Mapping[str, np.ndarray] = {}

    def __init__(self, records: Records, decode: Decode, spec: ColumnSpec, workers: int = 0):
        self.size, self._workers = len(records), workers
        self._decoder = _Decoder(records, decode, spec)
        sizes = [int(np.prod(like.shape)) * like.dtype.itemsize for like in spec.values()]
        self.bytes_sent = max(1, sum(sizes))
        self.key = records.key

    def spec(self, batch_size: int) -> BatchSpec:
        """Returns the shapes and types of a batch."""
        return {
            name: jax.ShapeDtypeStruct((batch_size, *like.shape), like.dtype)
            for name, like in self._decoder.spec.items()
        }

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the examples of each span of steps, [length, part of the batch, ...].

        Raises:
          BadRecord: a file has changed since it was checked.
        """
        spans = list(spans)
        with contextlib.closing(self._read(order, spans[0][0], spans[-1][1])) as batches:
            for start, stop in spans:
                columns = {}
                for at in range(stop - start):
                    for name, values in next(batches).items():
                        if not at:
                            columns[name] = np.empty((length, *values.shape), values.dtype)
                        columns[name][at] = values
                # Steps past the span are not used, but their bytes must not differ between runs.
                for column in columns.values():
                    column[stop - start :] = 0
                yield columns

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """Returns these examples, decoded as for evaluation."""
        return self._decoder.batch(rows, rows, None)

    def _read(self, order: Order, start: int, stop: int) -> Generator[dict[str, np.ndarray]]:
        with contextlib.closing(self._pieces(order, start, stop)) as pieces:
            for piece in pieces:
                for at in range(len(next(iter(piece.values())))):
                    yield {name: column[at] for name, column in piece.items()}

    def _pieces(self, order: Order, start: int, stop: int):
        """Iterates over the batches of several steps at a time, [steps, part of the batch, ...]."""
        import grain

        part = order.batch_size // order.part[1]
        length = max(1, min(_READ_AT_ONCE, _BYTES_AT_ONCE // self.bytes_sent) // part)
        starts = grain.MapDataset.range(start, stop, length)
        steps = starts.map(_Batches(self._decoder, order, length, stop))
        threads = max(1, min(16, os.cpu_count() or 1))
        ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        if self._workers:
            # The workers share the cores: each gets an equal part of the threads.
            share = max(1, threads // self._workers)
            ahead = grain.ReadOptions(num_threads=share, prefetch_buffer_size=2 * share)
        dataset = steps.to_iter_dataset(ahead)
        if self._workers:
            from absl import flags

            # Grain reads a flag of absl, which fails unless absl has parsed its flags.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self._workers), _end_with_parent
            )
        return iter(dataset)

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """Returns the batch of one step; traceable."""
        return dict(sent)


def _end_with_parent(worker: int, workers: int) -> None:
    """Ends a worker when its run is killed; otherwise it would wait for ever."""
    parent = multiprocessing.parent_process()

    def wait():
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(frozen=True)
class _Decoder:
    records: Records
    decode: Decode
    spec: ColumnSpec

    def batch(
        self, rows: np.ndarray, positions: np.ndarray, seed: int | None
    ) -> dict[str, np.ndarray]:
        columns = {
            name: np.empty((len(rows), *like.shape), like.dtype) for name, like in self.spec.items()
        }
        records = self.records.read(rows.tolist())
        for at, (record, position) in enumerate(zip(records, positions.tolist())):
            draw = None if seed is None else Draw(seed, position)
            put_decoded(columns, at, self.decode(record, draw))
        return columns


@dataclass(frozen=True)
class _Batches:
    """A function that makes the batches of `length` steps from a step on, but none from `stop` on.
    It is picklable, for worker processes."""

    decoder: _Decoder
    order: Order
    length: int
    stop: int

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        steps = step, min(step + self.length, self.stop)
        rows, positions = self.order.rows(*steps), self.order.positions(*steps)
        columns = self.decoder.batch(rows.ravel(), positions.ravel(), self.order.seed)
        return {
            name: column.reshape(*rows.shape, *column.shape[1:]) for name, column in columns.items()
        }
