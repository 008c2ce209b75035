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

# How many records one call reads, as long as they are small: a call to ArrayRecord takes as long as
# decoding 150 digits.
_READ_AT_ONCE = 2048
_BYTES_AT_ONCE = 1 << 24


class Streamed:
    """Records as a source of batches (see `jaxmodels.protocol.Source`), the same ones as `Resident`
    gives of what they decode to.

    Each batch is a function of its step alone, so that a run goes on with any number of workers.

    decode: makes a record's columns; in training it is given a Draw of the seed and the position.
    spec: shape and type of one example of each column.
    workers: processes that read and decode; 0: threads of this one, which suffice where decoding
      leaves Python's lock alone, as decoding of pictures does.
    """

    arrays: Mapping[str, np.ndarray] = {}

    def __init__(self, records: Records, decode: Decode, spec: ColumnSpec, workers: int = 0):
        self.size, self._workers = len(records), workers
        self._decoder = _Decoder(records, decode, spec)
        sizes = [int(np.prod(like.shape)) * like.dtype.itemsize for like in spec.values()]
        self.bytes_sent = max(1, sum(sizes))

    def spec(self, batch_size: int) -> BatchSpec:
        """Shapes and types of a batch."""
        return {
            name: jax.ShapeDtypeStruct((batch_size, *like.shape), like.dtype)
            for name, like in self._decoder.spec.items()
        }

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """For each span of steps their examples, [length, part of the batch, ...].

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
                # What a call leaves out may hold anything, but it may not differ between runs.
                for column in columns.values():
                    column[stop - start :] = 0
                yield columns

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """These examples as a pass in order gives them."""
        return self._decoder.batch(rows, rows, None)

    def _read(self, order: Order, start: int, stop: int) -> Generator[dict[str, np.ndarray]]:
        with contextlib.closing(self._pieces(order, start, stop)) as pieces:
            for piece in pieces:
                for at in range(len(next(iter(piece.values())))):
                    yield {name: column[at] for name, column in piece.items()}

    def _pieces(self, order: Order, start: int, stop: int):
        """The batches of several steps each."""
        import grain

        part = order.batch_size // order.part[1]
        length = max(1, min(_READ_AT_ONCE, _BYTES_AT_ONCE // self.bytes_sent) // part)
        starts = grain.MapDataset.range(start, stop, length)
        steps = starts.map(_Batches(self._decoder, order, length, stop))
        threads = max(1, min(16, os.cpu_count() or 1))
        ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        if self._workers:
            # Each worker has as many threads; in all as many as there are cores.
            share = max(1, threads // self._workers)
            ahead = grain.ReadOptions(num_threads=share, prefetch_buffer_size=2 * share)
        dataset = steps.to_iter_dataset(ahead)
        if self._workers:
            from absl import flags

            # Grain asks for a flag of its own, which only a program of absl has read.
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()
            dataset = dataset.mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self._workers), _end_with_parent
            )
        return iter(dataset)

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """The batch of one step; traceable."""
        return dict(sent)


def _end_with_parent(worker: int, workers: int) -> None:
    """Ends a worker whose run was killed, which would wait for ever."""
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
    """step -> the batches of `length` steps from it on, but none from `stop` on; in whatever
    process."""

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
