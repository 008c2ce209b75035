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
from jaxmodels.protocol import DATA_AXIS, Batch, Metrics, PyTree, Source, State
from jaxmodels.train.experiment import PerBatch
from jaxmodels.train.feed import Feed
from jaxmodels.train.layout import part_of_host, put, shardings_of
from jaxmodels.train.program import MOST_SENT, Chunk, pick, steps_at_once


class SplitProgram:
    """Passes over one split with batches of any size: the last is filled up, and what fills it is
    marked as not valid.

    Each function that is summed or mapped is compiled once, for as long as it is the same object.
    """

    def __init__(self, source: Source, batch_size: int, key: Key[Array, ""], mesh: Mesh):
        devices = mesh.shape[DATA_AXIS]
        batch_size = -(-min(batch_size, source.size) // devices) * devices
        self._order = Order(source.size, batch_size, part=part_of_host())
        self._length = min(self._order.batches, steps_at_once(source, batch_size))
        self._source, self._shardings, self._key = source, shardings_of(mesh), key
        self._arrays = put(dict(source.arrays), self._shardings.whole)
        # The functions are kept beside their programs, so that no other takes over their identity.
        self._programs: dict[tuple, tuple[PerBatch, Callable]] = {}

    def sum(self, function: PerBatch, state: State) -> Metrics:
        """The sum over all batches, on the host: integers and floats of 64 bits there."""
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
        """The outputs for all examples in order, or for those of these rows, on the host."""
        if rows is not None:
            return self._of_rows(function, state, rows)
        # One process sees all parts of a divided output; of several, each needs the whole.
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
        known = {"valid": np.ones(len(rows), bool), "position": rows.astype(np.int32)}
        batch = put({**self._source.examples(rows), **known}, whole)
        return jax.device_get(program(state, batch, self._key))

    def _program(self, verb: str, function: PerBatch, make: Callable, sharding) -> Callable:
        # Two looks at a method give two objects that are equal in these.
        key = verb, id(getattr(function, "__self__", function)), _function_of(function)
        if key not in self._programs:
            compiled = jax.jit(
                make(function), out_shardings=sharding, compiler_options=cpu_compiler_options()
            )
            self._programs[key] = function, compiled
        return self._programs[key][1]

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
        known = {name: rows.pop(name) for name in ("valid", "position")}
        return dict(self._source.batch(arrays, rows)) | known

    def _most_batches(self, function: PerBatch, state: State) -> int:
        """How many batches of outputs may be on the devices at once."""
        batch = dict(self._source.spec(self._order.batch_size))
        count = (self._order.batch_size,)
        batch["valid"] = jax.ShapeDtypeStruct(count, np.bool_)
        batch["position"] = jax.ShapeDtypeStruct(count, np.int32)
        outputs = jax.tree.leaves(jax.eval_shape(function, state, batch, self._key))
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
            # As many as the rest of what is sent, for the padding of the last chunk too.
            position = order.positions(start, start + length).astype(np.int32)
            known = {"valid": position < order.size, "position": position}
            yield Chunk(start, stop, put({**sent, **known}, self._shardings.steps))


def _function_of(function: PerBatch) -> object:
    return getattr(function, "__func__", function)


def _added(total: Metrics | None, sums: Metrics) -> Metrics:
    """A total on the host with the sums of one more call added."""
    sums = jax.tree.map(_in_64_bits, jax.device_get(sums))
    return sums if total is None else jax.tree.map(np.add, total, sums)


def _in_64_bits(leaf: np.ndarray) -> np.ndarray:
    return np.asarray(leaf, np.int64 if np.issubdtype(leaf.dtype, np.integer) else np.float64)


class Sampler:
    """An objective's samples of one state, on one device: they are the same on any number."""

    def __init__(self, sample: Callable[[State, Key[Array, ""], PyTree], PyTree]):
        options = cpu_compiler_options()
        self._of_count = jax.jit(sample, static_argnums=2, compiler_options=options)
        self._of_conditions = jax.jit(sample, compiler_options=options)
        self._given, self._state = None, None

    def __call__(self, state: State, key: Key[Array, ""], conditions: PyTree) -> PyTree:
        """Samples for a count, or for conditions as the objective takes them, on the host."""
        device = jax.local_devices()[0]
        if state is not self._given:
            self._given, self._state = state, jax.device_put(jax.device_get(state), device)
        key = jax.device_put(key, device)
        if isinstance(conditions, int):
            return jax.device_get(self._of_count(self._state, key, conditions))
        conditions = jax.device_put(conditions, device)
        return jax.device_get(self._of_conditions(self._state, key, conditions))

    def forget(self) -> None:
        """Frees the copy of the state."""
        self._given = self._state = None


def map_examples(
    function: PerBatch, state: State, columns: Mapping[str, Any], batch_size: int = 250
) -> PyTree:
    """The outputs of a function (state, batch, key) for examples that are in memory, in order, on
    the host.

    One program serves any number of them: the last batch is filled up. The key is that of seed 0.
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
