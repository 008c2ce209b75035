"""Passes over a split: any function of its batches, summed or mapped, every example once."""

import functools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from jaxmodels.ops import cpu_compiler_options
from jaxmodels.order import Order
from jaxmodels.protocol import Batch, Metrics, PyTree, Source, State
from jaxmodels.train.checkpoint import abstract
from jaxmodels.train.experiment import PerBatch
from jaxmodels.train.feed import Feed
from jaxmodels.train.layout import batch_parts, on_host, part_of_host, put, shardings_of
from jaxmodels.train.program import MOST_SENT, Chunk, pick, steps_at_once
from jaxmodels.train.sharding import StateLayout


class SplitProgram:
    """Compiled passes over one split, whose last batch is padded with examples marked as not valid.

    A function is compiled once, as long as it is passed as the same object.

    layout: how states lie on the mesh; None: each device has the whole state.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        key: Key[Array, ""],
        mesh: Mesh,
        layout: StateLayout | None = None,
    ):
        devices = batch_parts(mesh)
        self._layout = layout or StateLayout(mesh)
        batch_size = -(-batch_size_for(source.size, batch_size) // devices) * devices
        self._order = Order(source.size, batch_size, part=part_of_host(mesh))
        self._length = min(self._order.batches, steps_at_once(source, batch_size))
        self._source, self._shardings, self._key = source, shardings_of(mesh), key
        self._arrays = put(dict(source.arrays), self._shardings.whole)
        # Keeps each function alive, so that no other can get its id.
        self._functions: dict[tuple, tuple[PerBatch, Callable]] = {}
        self._programs: dict[tuple, Callable] = {}

    def sum(self, function: PerBatch, state: State) -> Metrics:
        """Adds a function's outputs over all batches, on the host in 64 bits."""
        program = self._program("sum", function, self._summing, self._shardings.whole)
        total, running = None, deque()
        for chunk in self._chunks(self._length):
            count = chunk.stop - chunk.start
            running.append(program(state, self._arrays, chunk.sent, self._key, count))
            # One call stays in flight while the one before is fetched.
            if len(running) > 1:
                total = _added(total, running.popleft())
        return _added(total, running.popleft())

    def map(
        self, function: PerBatch, state: State, rows: Int[np.ndarray, " count"] | None = None
    ) -> PyTree:
        """Returns a function's outputs for all examples in order, or those of `rows`, on the
        host."""
        if rows is not None:
            return self._of_rows(function, state, rows)
        # One process can read all parts of a divided output; several need it whole in each.
        divided = self._shardings.steps
        sharding = divided if jax.process_count() == 1 else self._shardings.whole
        length = self._most_batches(function, state)
        program = self._program("map", function, self._mapping, sharding)
        pieces = [
            jax.device_get(program(state, self._arrays, chunk.sent, self._key))
            for chunk in self._chunks(length)
        ]
        return jax.tree.map(
            lambda *leaves: np.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves])[
                : self._order.size
            ],
            *pieces,
        )

    def _of_rows(self, function: PerBatch, state: State, rows: np.ndarray) -> PyTree:
        rows = rows[rows < self._order.size]
        whole = self._shardings.whole
        program = self._program("rows", function, lambda function: function, whole)
        marks = {"valid": np.ones(len(rows), bool), "position": rows.astype(np.int32)}
        batch = put({**self._source.examples(rows), **marks}, whole)
        return jax.device_get(program(state, batch, self._key))

    def _program(self, verb: str, function: PerBatch, make: Callable, sharding) -> Callable:
        key = verb, *_identity(function)
        if key not in self._programs:
            self._programs[key] = jax.jit(
                make(self._traced(function)),
                out_shardings=sharding,
                compiler_options=cpu_compiler_options(),
            )
        return self._programs[key]

    def _traced(self, function: PerBatch) -> PerBatch:
        """Makes a function that is traced once for its shapes and its uses on this mesh."""
        key = _identity(function)
        if key not in self._functions:
            laid_out = self._laid_out(function)
            once = jax.jit(lambda *arguments: laid_out(*arguments), inline=True)
            self._functions[key] = function, once
        return self._functions[key][1]

    def _laid_out(self, function: PerBatch) -> PerBatch:
        """Makes the function of a state that is divided."""
        layout = self._layout
        if not layout.is_divided:
            return function

        def of_divided(state, batch, key):
            with layout.traced():
                return function(layout.in_use(state, updated=False), batch, key)

        return of_divided

    def _summing(self, function: PerBatch) -> Callable:
        def add_sums(state, arrays, sent, key, count):
            def add(at, total):
                sums = function(state, self._batch(arrays, sent, at), key)
                return jax.tree.map(jnp.add, total, sums)

            like = jax.eval_shape(function, state, self._batch(arrays, sent, 0), key)
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
            return jax.lax.fori_loop(0, count, add, zeros)

        return add_sums

    def _mapping(self, function: PerBatch) -> Callable:
        def outputs(state, arrays, sent, key):
            length = len(jax.tree.leaves(sent)[0])
            return jax.lax.map(
                lambda at: function(state, self._batch(arrays, sent, at), key), jnp.arange(length)
            )

        return outputs

    def _batch(self, arrays, sent, at) -> Batch:
        rows = jax.lax.with_sharding_constraint(pick(sent, at), self._shardings.batch)
        marks = {name: rows.pop(name) for name in ("valid", "position")}
        return dict(self._source.batch(arrays, rows)) | marks

    def _most_batches(self, function: PerBatch, state: State) -> int:
        """Returns for how many batches the outputs may be on the devices at once."""
        batch = dict(self._source.spec(self._order.batch_size))
        count = (self._order.batch_size,)
        batch["valid"] = jax.ShapeDtypeStruct(count, np.bool_)
        batch["position"] = jax.ShapeDtypeStruct(count, np.int32)
        batch = abstract(batch, self._shardings.batch)
        outputs = jax.tree.leaves(jax.eval_shape(self._traced(function), state, batch, self._key))
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in outputs)
        return min(self._length, max(1, MOST_SENT // max(size, 1)))

    def _chunks(self, length: int) -> Iterator[Chunk]:
        with Feed(self._made_chunks(length), idle=lambda: False) as feed:
            yield from feed

    def _made_chunks(self, length: int) -> Generator[Chunk, None, None]:
        order = self._order
        ends = [*range(length, order.batches, length), order.batches]
        spans = list(zip([0, *ends], ends, strict=False))
        for (start, stop), sent in zip(spans, self._source.send(order, spans, length), strict=True):
            # All of `sent` has `length` steps, so the last chunk's padding needs positions too.
            position = order.positions(start, start + length).astype(np.int32)
            marks = {"valid": position < order.size, "position": position}
            yield Chunk(start, stop, put({**sent, **marks}, self._shardings.steps))


def batch_size_for(count: int, most: int) -> int:
    """Returns the batch size for so many examples: the count in three binary digits, rounded up.

    An evaluation and a prediction of as many examples then compile the same program, on which the
    last bits of results depend, and other counts have few programs.

    most: that of larger counts.
    """
    step = 1 << max(0, count.bit_length() - 3)
    return min(most, -(-count // step) * step)


def _identity(function: PerBatch) -> tuple:
    # Each access to a method makes a new object, so its instance and function identify it.
    return id(getattr(function, "__self__", function)), getattr(function, "__func__", function)


def _added(total: Metrics | None, sums: Metrics) -> Metrics:
    """Adds the sums of one more call to a total on the host."""
    sums = jax.tree.map(_in_64_bits, jax.device_get(sums))
    return sums if total is None else jax.tree.map(np.add, total, sums)


def _in_64_bits(leaf: np.ndarray) -> np.ndarray:
    return np.asarray(leaf, np.int64 if np.issubdtype(leaf.dtype, np.integer) else np.float64)


class Sampler:
    """A function that draws an objective's samples, on one device: they are the same on any number
    of devices."""

    def __init__(self, sample: Callable[[State, Key[Array, ""], PyTree], PyTree]):
        options = cpu_compiler_options()
        self._of_count = jax.jit(sample, static_argnums=2, compiler_options=options)
        self._of_conditions = jax.jit(sample, compiler_options=options)
        self._state, self._copy = None, None

    def __call__(self, state: State, key: Key[Array, ""], conditions: PyTree) -> PyTree:
        """Draws samples for a count or for the objective's conditions; returns them on the host."""
        device = jax.local_devices()[0]
        if state is not self._state:
            self._state, self._copy = state, jax.device_put(on_host(state), device)
        key = jax.device_put(key, device)
        if isinstance(conditions, int):
            return jax.device_get(self._of_count(self._copy, key, conditions))
        conditions = jax.device_put(conditions, device)
        return jax.device_get(self._of_conditions(self._copy, key, conditions))

    def forget(self) -> None:
        """Frees the copy of the state."""
        self._state = self._copy = None


def map_examples(
    function: PerBatch, state: State, columns: Mapping[str, Any], batch_size: int = 250
) -> PyTree:
    """Returns the outputs of a function (state, batch, key) for examples in memory, in order, on
    the host.

    The last batch is padded, so that one program serves any number. The key is that of seed 0.
    """
    size = len(next(iter(columns.values())))
    program = _jitted(function)
    pieces = []
    for start in range(0, size, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), size - 1)
        batch = {name: jnp.asarray(np.asarray(column)[rows]) for name, column in columns.items()}
        position = np.arange(start, start + batch_size, dtype=np.int32)
        batch |= {"valid": position < size, "position": position}
        pieces.append(jax.device_get(program(state, batch, jax.random.key(0))))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:size], *pieces)


@functools.lru_cache(maxsize=4)
def _jitted(function: PerBatch) -> Callable:
    return jax.jit(function, compiler_options=cpu_compiler_options())
