"""The compiled program of a run: its initial state, and many steps in one call."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from jaxmodels.errors import InputError, require_known
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.ops.rematerialize import use_remat
from jaxmodels.order import Order
from jaxmodels.protocol import (
    BY_SIZE,
    DATA_AXIS,
    Batch,
    Metrics,
    Objective,
    PyTree,
    Sharding,
    Source,
    State,
)
from jaxmodels.train.checkpoint import abstract
from jaxmodels.train.debug import all_finite
from jaxmodels.train.experiment import NOTHING
from jaxmodels.train.feed import Feed
from jaxmodels.train.layout import (
    batch_parts,
    divides_state,
    part_of_host,
    put,
    shardings_of,
    shown,
)
from jaxmodels.train.operations import Operations, count_operations
from jaxmodels.train.sharding import StateLayout
from jaxmodels.train.start import started

PARALLEL = ("jit", "pmap")
# Most bytes of data in one call; the data of several calls is in memory at once.
MOST_SENT = 1 << 28


class Keys(NamedTuple):
    """The independent roots of randomness, all from the seed."""

    init: Key[Array, ""]
    step: Key[Array, ""]
    evaluate: Key[Array, ""]
    sample: Key[Array, ""]


def keys_of(seed: int) -> Keys:
    """Splits a seed into roots by purpose; step t uses fold_in(keys.step, t)."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def pick(sent: PyTree, at: Array | int) -> PyTree:
    """Takes the data of one step from what was sent for a chunk."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, at, keepdims=False), sent)


class Chunk(NamedTuple):
    """Steps start..stop-1 and the host's data for them, on the devices."""

    start: int
    stop: int
    sent: PyTree  # [length, batch, ...], of which the first stop - start steps count
    skipped: int = 0  # batches that were left out after divergences


class TrainProgram:
    """Steps of an objective, compiled once for the whole run.

    objective: an Objective, or an object with its methods.
    parallel: jit: one program for the global batch, which the compiler divides over the mesh; pmap:
      a program on each device for its part of the batch (objectives then add over a named axis, see
      `jaxmodels.across`). State and results are the same.
    length: most steps of a chunk; `self.length` is less where the data of so many is too large.
    sharding: how the model lies on a mesh with axes besides data. shard: rules that come first.
    remat: what gradients compute again (`ops.rematerialize`).

    Raises:
      InputError: a batch that the devices do not divide or the data does not fill, an unknown
        `parallel`, pmap in several processes or on a mesh with other axes, or a mesh that does not
        divide the model.
    """

    def __init__(
        self,
        objective: Any,
        source: Source,
        batch_size: int,
        length: int,
        seed: int,
        mesh: Mesh,
        batches_per_step: int = 1,
        parallel: str = "jit",
        skips_nonfinite: bool = False,
        sharding: Sharding = BY_SIZE,
        shard: Iterable[str] = (),
        remat: str = "none",
    ):
        require_known("parallel", parallel, PARALLEL)
        if parallel == "pmap" and jax.process_count() > 1:
            raise InputError("parallel = pmap; with several processes expected jit")
        if parallel == "pmap" and divides_state(mesh):
            raise InputError(
                f"parallel = pmap, mesh = {shown(mesh)}; expected {DATA_AXIS}=N alone, or jit"
            )
        devices = batch_parts(mesh)
        if batch_size % devices:
            over = f", {DATA_AXIS} * fsdp of {shown(mesh)}" if divides_state(mesh) else ""
            raise InputError(
                f"batch_size = {batch_size}; expected a multiple of the {devices} devices{over}, as"
                f" {max(batch_size // devices, 1) * devices}"
            )
        if batch_size * batches_per_step > source.size:
            each = f", {batches_per_step} a step" if batches_per_step > 1 else ""
            raise InputError(
                f"batch_size = {batch_size}{each}; expected at most the {source.size} training"
                " examples"
            )
        batch_size *= batches_per_step
        self._order = Order(source.size, batch_size, seed, part_of_host(mesh))
        self._source, self._mesh, self._parallel = source, mesh, parallel
        self._skips_nonfinite = skips_nonfinite
        self.length = min(length, steps_at_once(source, batch_size))
        self.shardings = shardings_of(mesh)
        self.keys = self._placed(keys_of(seed))
        spec = source.spec(batch_size)
        # Functions of this program, so that no trace for another mesh is found; compiled ones, so
        # that what is traced for its shapes here is not traced again.
        self._init = jax.jit(lambda key: objective.init(key, spec, objective.hyperparameters))
        self._step = jax.jit(lambda *arguments: objective.step(*arguments), inline=True)
        state = jax.eval_shape(self._init, self.keys.init)
        self.layout = StateLayout(mesh, sharding, shard)
        self._places = self.layout.shardings(state)
        like = jax.tree.map(abstract, state, self._places)
        self._batch = abstract(spec, self.shardings.whole)
        self._remat = remat
        with self._traced():
            _, sums = jax.eval_shape(self._step, like, self._batch, self.keys.step)
        self.like = {"state": like, "window": abstract(sums, self.shardings.whole)}
        self._arrays = self._placed(dict(source.arrays))
        self._objective = objective
        # One output of each call that may still be running.
        self._running: deque[Array] = deque()
        self._refused: list[Array] = []

    @contextmanager
    def _traced(self) -> Iterator[None]:
        """Makes a step that is traced inside heed the mesh and what is computed again."""
        with self.layout.traced(), use_remat(self._remat):
            yield

    def _placed(self, tree: PyTree) -> PyTree:
        """Puts arrays on every device."""
        return put(tree, self.shardings.whole)

    def take_refused(self) -> list[Array]:
        """Returns the number of skipped steps of each call since it was last asked."""
        refused, self._refused = self._refused, []
        return refused

    def _chunk(self, to_batch: Callable[[PyTree], PyTree], to_sums: Callable[[Metrics], Metrics]):
        source, step, layout, traced = self._source, self._step, self.layout, self._traced

        # The key is an argument, so that runs of all seeds share one program.
        def chunk(state, window, arrays, root, sent, count, skipped):
            def body(at, carry):
                state, window, refused = carry
                batch = source.batch(arrays, to_batch(pick(sent, at)))
                key = jax.random.fold_in(root, state["step"] + skipped)
                with traced():
                    new, sums = step(layout.in_use(state, updated=True), batch, key)
                new, sums = self._at_rest(new), to_sums(sums)
                if self._skips_nonfinite:
                    good = all_finite((new, sums))
                    new = _chosen(good, new, {**state, "step": state["step"] + 1})
                    sums = _chosen(good, sums, jax.tree.map(jnp.zeros_like, sums))
                    refused += ~good
                return new, jax.tree.map(jnp.add, window, sums), refused

            # `count` is traced, so that one program serves chunks of every length.
            carry = state, window, jnp.int32(0)
            state, window, refused = jax.lax.fori_loop(0, count, body, carry)
            return state, window, refused

        return chunk

    def _at_rest(self, state: State) -> State:
        """Divides a state that a step has updated, so that the loop carries its parts."""
        if not self.layout.is_divided:
            return state
        return jax.lax.with_sharding_constraint(state, self._places)

    @cached_property
    def _compiled(self) -> jax.stages.Compiled:
        whole, steps, batch = self.shardings
        if self._parallel == "pmap":
            # None: equal on all devices, without an axis of devices.
            program = jax.pmap(
                self._chunk(lambda rows: rows, lambda sums: jax.lax.psum(sums, DATA_AXIS)),
                axis_name=DATA_AXIS,
                in_axes=(None, None, None, None, 1, None, None),
                out_axes=None,
                donate_argnums=(0, 1),
                devices=list(self._mesh.devices.flat),
            )
        else:
            # Without the constraint, every device would silently gather and run the whole batch.
            program = jax.jit(
                self._chunk(
                    lambda rows: jax.lax.with_sharding_constraint(rows, batch), lambda sums: sums
                ),
                donate_argnums=(0, 1),
                in_shardings=(self._places, whole, whole, whole, steps, whole, whole),
                out_shardings=(self._places, whole, whole),
            )
        like = self.like
        # Of each host one example tells the shapes; a whole batch may take seconds to decode.
        few = replace(self._order, batch_size=self._order.part[1])
        sent = {
            name: jax.ShapeDtypeStruct(
                (self.length, *self._batch_axes(self._order.batch_size), *part.shape[2:]),
                part.dtype,
                sharding=steps,
            )
            for name, part in next(self._source.send(few, [(0, 1)], 1)).items()
        }
        lowered = program.lower(
            like["state"], like["window"], self._arrays, self.keys.step, sent, 0, 0
        )
        options: Any = self._options()
        return lowered.compile(compiler_options=options)

    def operations(self) -> Operations:
        """Counts the floating-point operations of one step over all devices. What the gradient
        computes again is not needed."""
        arguments = self.like["state"], self._batch, self.keys.step
        with self._traced():
            counted = count_operations(jax.make_jaxpr(self._step)(*arguments).jaxpr)
        if self._remat == "none":
            return counted
        step = self._objective.step
        with self.layout.traced(), use_remat("none"):
            # A function of its own, so that the trace that computes again is not found.
            once = jax.make_jaxpr(lambda *arguments: step(*arguments))(*arguments)
        return counted._replace(needed=count_operations(once.jaxpr).needed)

    def _options(self) -> dict[str, str]:
        return cpu_compiler_options()

    def _batch_axes(self, batch_size: int) -> tuple[int, ...]:
        """Returns the leading axes of a batch: [batch], or under pmap [devices, batch/devices]."""
        if self._parallel == "jit":
            return (batch_size,)
        devices = self._mesh.shape[DATA_AXIS]
        return devices, batch_size // devices

    def _put(self, sent: dict[str, np.ndarray]) -> PyTree:
        sent = {
            name: part.reshape(len(part), *self._batch_axes(part.shape[1]), *part.shape[2:])
            for name, part in sent.items()
        }
        return put(sent, self.shardings.steps)

    def compile(self) -> jax.stages.Compiled:
        """Compiles the steps now; otherwise the first `run` would."""
        return self._compiled

    @property
    def mesh_size(self) -> int:
        """The number of devices."""
        return self._mesh.size

    @property
    def bytes_on_device(self) -> int:
        """Bytes of the data that lie on each device."""
        return sum(column.nbytes for column in self._arrays.values())

    def create(self, given: Mapping[str, Any] = NOTHING) -> State:
        """Computes the initial state.

        given: arrays that replace what it would learn from, by path (see `start`).
        """
        state = jax.jit(self._init, out_shardings=self._places)(self.keys.init)
        if not given:
            return state
        begin = partial(started, Objective.of(self._objective))
        arrays = self.layout.put({name: np.asarray(array) for name, array in given.items()})
        return jax.jit(begin, out_shardings=self._places)(state, arrays)

    def zeros(self) -> Metrics:
        """Returns an empty window of metrics."""
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self.like["window"])
        return put(zeros, self.shardings.whole)

    def feed(self, start: int, ends: Iterable[int], skipped: int = 0) -> Feed[Chunk]:
        """Makes the chunks from `start` to each of `ends`, at most `length` steps apart. A chunk is
        sent while the devices work on the one before.

        skipped: batches that were left out: step t takes the batch and the key of t + skipped.
        """
        return Feed(self._chunks(start, ends, skipped), self._idle)

    def _chunks(
        self, start: int, ends: Iterable[int], skipped: int = 0
    ) -> Generator[Chunk, None, None]:
        stops = list(ends)
        if not stops:  # a run at its last step, whose files were damaged
            return
        spans = list(zip([start, *stops], stops, strict=False))
        batches = [(first + skipped, last + skipped) for first, last in spans]
        for span, sent in zip(
            spans, self._source.send(self._order, batches, self.length), strict=True
        ):
            yield Chunk(*span, self._put(sent), skipped)

    def _idle(self) -> bool:
        # The type jax.Array does not declare `is_ready`.
        running: Any = self._running
        return all(step.is_ready() for step in running)

    def run(self, state: State, window: Metrics, chunk: Chunk) -> tuple[State, Metrics]:
        """Runs the steps of a chunk; donates state and window. Returns while the devices still work
        on this chunk and the one before."""
        count = chunk.stop - chunk.start
        state, window, refused = self._compiled(
            state, window, self._arrays, self.keys.step, chunk.sent, count, chunk.skipped
        )
        self._running.append(refused)
        if self._skips_nonfinite:
            self._refused.append(refused)
        # Keeps at most two calls in flight; otherwise the chunks that a fast host sends would fill
        # the devices' memory.
        if len(self._running) > 2:
            jax.block_until_ready(self._running.popleft())
        return state, window

    def advance(
        self, state: State, window: Metrics, start: int, stop: int, skipped: int = 0
    ) -> tuple[State, Metrics]:
        """Runs steps start..stop-1, without a feed. skipped: see `feed`."""
        ends = [*range(start + self.length, stop, self.length), stop]
        for chunk in self._chunks(start, ends, skipped):
            state, window = self.run(state, window, chunk)
        return state, window

    def batch(self, step: int) -> Batch:
        """Returns the batch of one step."""
        sent = next(self._source.send(self._order, [(step, step + 1)], 1))
        return self._source.batch(
            self._arrays, {name: jnp.asarray(part[0]) for name, part in sent.items()}
        )

    def rows(self, step: int) -> Int[np.ndarray, " batch"]:
        """Returns the rows, in the training split, of the batch of one step."""
        return self._order.rows(step, step + 1)[0]

    def names(self, step: int) -> list[str]:
        """Names the examples of the batch of one step."""
        keys = getattr(self._source, "keys", None)
        if keys:
            return keys(self._order, step)
        key = getattr(self._source, "key", str)
        return [key(row) for row in self.rows(step).tolist()]

    def text(self) -> str:
        """Returns the optimised program as text (HLO)."""
        return self._compiled.as_text() or ""


def _chosen(condition: Array, yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def steps_at_once(source: Source, batch_size: int) -> int:
    """Returns for how many steps the data may be sent in one call."""
    return max(1, MOST_SENT // (source.bytes_sent * batch_size))
