"""Windows of a column of tokens as sources of batches: from the device, or from the file."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxmodels.data.text.packing import TokenColumn, read_pages_alone
from jaxmodels.data.text.windows import RandomWindows, SlidingWindows, Windows
from jaxmodels.errors import InputError
from jaxmodels.order import Order
from jaxmodels.protocol import Batch, BatchSpec

MOST_RESIDENT = (1 << 31) - 1  # tokens, whose places are 32-bit numbers on the device


class _WindowSource:
    """What both sources (see `jaxmodels.protocol.Source`) have in common.

    A batch has "tokens", int32 [batch, context + 1]; in evaluation "scored", bool [batch, context],
    which marks the targets that count; and with `documents` "document", int32 [batch, context + 1],
    the document of each token, counted from the first of the window. The end token belongs to the
    document after it, as what its first token is predicted from. So a target that follows the
    documents of the inputs is predicted from one document alone, the end token included: no target
    has to be left out, but for the first of a document where the tokenizer has no end token.
    """

    arrays: Mapping[str, np.ndarray]

    def __init__(self, column: TokenColumn, windows: Windows, documents: bool = False):
        self._column, self._windows, self._documents = column, windows, documents
        self.size, self.context = windows.size, windows.context
        self._evaluates = isinstance(windows, SlidingWindows)

    def spec(self, batch_size: int) -> BatchSpec:
        """Returns the shapes and types of a batch."""
        tokens = jax.ShapeDtypeStruct((batch_size, self.context + 1), np.int32)
        scored = jax.ShapeDtypeStruct((batch_size, self.context), np.bool_)
        return {
            "tokens": tokens,
            **({"scored": scored} if self._evaluates else {}),
            **({"document": tokens} if self._documents else {}),
        }

    def key(self, row: int) -> str:
        """Names a window by its place in the column; a training window without its offset."""
        return self._named(int(self._windows.of(np.array([row]))["start"][0]))

    def keys(self, order: Order, step: int) -> list[str]:
        """Names the windows of a step by their places in the column."""
        starts = self._windows.places(order, step, step + 1)["start"][0]
        return [self._named(at) for at in starts.tolist()]

    def _named(self, start: int) -> str:
        return f"tokens {start} to {start + self.context}"

    def examples(self, rows: Int[np.ndarray, " count"]) -> dict[str, np.ndarray]:
        """Returns these windows, on the host; of the training split those without an offset."""
        places = self._windows.of(rows)
        columns = self._read(places["start"])
        return jax.device_get(self._finished({**places, **columns}))

    def _read(self, start: Int[np.ndarray, " window"]) -> dict[str, np.ndarray]:
        """Reads windows from the column, in the types in which they are sent."""
        places = start[:, None] + np.arange(self.context + 1)
        tokens = self._column.tokens[np.minimum(places, len(self._column) - 1)]
        columns = {"tokens": np.where(places < len(self._column), tokens, 0).astype(tokens.dtype)}
        if self._documents:
            found = np.searchsorted(self._column.openings, places, side="right")
            columns["document"] = (found - found[:, :1]).astype(self._document_type)
        return columns

    @property
    def _document_type(self) -> np.dtype:
        return np.dtype(np.uint16 if self.context < 1 << 16 else np.int32)

    def _finished(self, columns: Mapping[str, Any]) -> Batch:
        """Makes the columns of a batch of what was read or sent; traceable."""
        batch = {"tokens": jnp.asarray(columns["tokens"], jnp.int32)}
        if self._evaluates:
            target = jnp.arange(self.context)
            there = target < len(self._column) - 1
            batch["scored"] = (target >= jnp.asarray(columns["skip"])[:, None]) & there
        if self._documents:
            batch["document"] = jnp.asarray(columns["document"], jnp.int32)
        return batch


class ResidentWindows(_WindowSource):
    """Windows of a column that lies on the device, so that the host sends only where they begin.

    Raises:
      InputError: 2^31 tokens or more.
    """

    bytes_sent = 8

    def __init__(self, column: TokenColumn, windows: Windows, documents: bool = False):
        super().__init__(column, windows, documents)
        if len(column) > MOST_RESIDENT:
            raise InputError(
                f"loading = resident; a split has {len(column):,} tokens: expected at most"
                f" {MOST_RESIDENT:,}, or --loading streamed"
            )
        missing = max(0, self.context + 1 - len(column))
        self.arrays = {"token": np.pad(column.tokens, (0, missing)) if missing else column.tokens}
        if documents:
            self.arrays["opening"] = column.openings.astype(np.int32)

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields where the windows of each span of steps begin, [length, part of the batch]."""
        for start, stop in spans:
            missing = length - (stop - start)
            places = self._windows.places(order, start, stop)
            yield {
                name: np.pad(values.astype(np.int32), [(0, missing), (0, 0)])
                for name, values in places.items()
            }

    def batch(self, arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """Makes the batch of one step; traceable."""
        width = self.context + 1
        columns = dict(sent)
        columns["tokens"] = jax.vmap(
            lambda start: jax.lax.dynamic_slice(arrays["token"], (start,), (width,))
        )(sent["start"])
        if self._documents:
            places = sent["start"][:, None] + jnp.arange(width)
            found = jnp.searchsorted(arrays["opening"], places, side="right")
            columns["document"] = found - found[:, :1]
        return self._finished(columns)


class StreamedWindows(_WindowSource):
    """Windows that the host reads from the memory-mapped column when they are due. The batches are
    those of `ResidentWindows`."""

    arrays: Mapping[str, np.ndarray] = {}

    def __init__(self, column: TokenColumn, windows: Windows, documents: bool = False):
        super().__init__(column, windows, documents)
        each = column.tokens.itemsize + self._document_type.itemsize * documents
        self.bytes_sent = each * (self.context + 1) + 4 * self._evaluates
        if isinstance(windows, RandomWindows):
            read_pages_alone(column.tokens)

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields the windows of each span of steps, [length, part of the batch, context + 1]."""
        for start, stop in spans:
            columns = {}
            for at, step in enumerate(range(start, stop)):
                places = self._windows.places(order, step, step + 1)
                found = self._read(places["start"][0])
                if self._evaluates:
                    found["skip"] = places["skip"][0].astype(np.int32)
                for name, values in found.items():
                    if not at:
                        columns[name] = np.zeros((length, *values.shape), values.dtype)
                    columns[name][at] = values
            yield columns

    def batch(self, arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """Makes the batch of one step; traceable."""
        return self._finished(sent)


WindowSource = ResidentWindows | StreamedWindows
