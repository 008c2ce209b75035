"""A split that is read and decoded while the device works."""

import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxmodels.data.crops import central_crop, random_resized_crop
from jaxmodels.data.records import CleanImages
from jaxmodels.errors import InputError
from jaxmodels.order import Order
from jaxmodels.protocol import Batch, BatchSpec

# Of the images that are read by one call, as long as they are small: a call to ArrayRecord takes
# 1.5 ms, as decoding 150 digits does.
_READ_AT_ONCE = 2048
_BYTES_AT_ONCE = 1 << 24


class Streamed:
    """Encoded images as a source of batches (see `jaxmodels.train.experiment.Source`), the same
    ones as `Resident` gives of the decoded images.

    Each batch is a function of its step alone, so that a run goes on with any number of workers.

    size: side of the square that each image is cut to, in training at random (`random_resized_crop`
      of the seed and the position in the run), in a pass in order by `central_crop`; 0: as it is.
    workers: processes that read and decode; 0: threads of this one, which suffice where decoding
      leaves Python's lock alone, as ours does.

    Raises:
      InputError: images of several sizes, and no size to cut them to.
    """

    arrays: Mapping[str, np.ndarray] = {}

    def __init__(self, images: CleanImages, size: int = 0, workers: int = 0):
        if images.shape is None and not size:
            raise InputError("image_size = 0; images of several sizes have to be cut to one")
        shape = (size, size, images.channels) if size else images.shape
        self.size, self._workers = len(images), workers
        self._decoder = _Decoder(images, size, shape)
        self.bytes_sent = int(np.prod(shape)) * images.dtype.itemsize

    def spec(self, batch_size: int) -> BatchSpec:
        """Shapes and types of a batch."""
        return {
            name: jax.ShapeDtypeStruct((batch_size, *shape), dtype)
            for name, (shape, dtype) in self._decoder.columns().items()
        }

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """For each span of steps their examples, [length, part of the batch, ...].

        Raises:
          BadRecord: a file has changed since it was checked.
        """
        spans = list(spans)
        batches = self._read(order, spans[0][0], spans[-1][1])
        try:
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
        finally:
            batches.close()

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """These examples as a pass in order gives them."""
        return self._decoder.batch(rows, rows, None)

    def _read(self, order: Order, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        pieces = self._pieces(order, start, stop)
        try:
            for piece in pieces:
                for at in range(len(piece["image"])):
                    yield {name: column[at] for name, column in piece.items()}
        finally:
            pieces.close()

    def _pieces(self, order: Order, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
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
    """Else the workers of a run that was killed would wait for ever."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(frozen=True)
class _Decoder:
    images: CleanImages
    size: int
    shape: tuple[int, int, int]

    def columns(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        image = {"image": (self.shape, self.images.dtype)}
        return image if self.images.labels is None else image | {"label": ((), np.dtype(np.int32))}

    def batch(
        self, rows: np.ndarray, positions: np.ndarray, seed: int | None
    ) -> dict[str, np.ndarray]:
        columns = {
            name: np.empty((len(rows), *shape), dtype)
            for name, (shape, dtype) in self.columns().items()
        }
        for at, (encoded, _) in enumerate(self.images.read(rows)):
            columns["image"][at] = self._decode(encoded, seed, int(positions[at]))
        if "label" in columns:
            columns["label"][:] = self.images.labels[rows]
        return columns

    def _decode(self, encoded: bytes, seed: int | None, position: int) -> np.ndarray:
        if not self.size:
            return self.images.decode(encoded)
        kind = self.images.channels, self.images.dtype
        if seed is None:
            return central_crop(encoded, self.size, *kind)
        return random_resized_crop(encoded, self.size, seed, position, *kind)


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
