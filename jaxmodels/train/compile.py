"""The compiled pieces of a run: initial state, many steps in one call, a pass over a split."""

from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key

from jaxmodels.cache import cache_folder
from jaxmodels.errors import InputError
from jaxmodels.ops import cpu_compiler_options
from jaxmodels.protocol import DATA_AXIS, Hyperparameters, Metrics, Objective, PyTree, State
from jaxmodels.train.checkpoint import abstract
from jaxmodels.train.experiment import Source


def use_compilation_cache() -> None:
    """Keeps compiled programs on disk for later processes, unless the user named a folder."""
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("xla")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def make_mesh(axes: str = "") -> Mesh:
    """The devices as a mesh: "data=4" takes the first four, "" takes all.

    Raises:
      InputError: text of another form, or more devices than there are.
    """
    available = jax.devices()
    name, _, number = axes.partition("=")
    if not axes:
        count = len(available)
    elif name != DATA_AXIS or not number.isdecimal() or int(number) < 1:
        raise InputError(
            f"mesh = '{axes}'; expected {DATA_AXIS}=N, as {DATA_AXIS}={len(available)}"
        )
    else:
        count = int(number)
    if count > len(available):
        raise InputError(f"mesh = '{axes}'; expected at most the {len(available)} devices here")
    # With explicit axes, the default, a gather by a sharded index is refused.
    return Mesh(np.array(available[:count]), (DATA_AXIS,), axis_types=(AxisType.Auto,))


class Shardings(NamedTuple):
    """How things lie on the mesh."""

    whole: NamedSharding  # on every device: state, resident data, metrics
    steps: NamedSharding  # [step, batch, ...]: the batch is divided
    batch: NamedSharding  # [batch, ...]


def shardings_of(mesh: Mesh) -> Shardings:
    """The shardings of one data axis."""
    return Shardings(
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec(None, DATA_AXIS)),
        NamedSharding(mesh, PartitionSpec(DATA_AXIS)),
    )


class Keys(NamedTuple):
    """The independent roots of randomness, all from the seed."""

    init: Key[Array, ""]
    step: Key[Array, ""]
    evaluate: Key[Array, ""]
    sample: Key[Array, ""]


def keys_of(seed: int) -> Keys:
    """Roots by purpose; step t uses fold_in(keys.step, t)."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def _batch_at(source: Source, arrays: PyTree, sent: PyTree, at: Array, shardings: Shardings):
    """The batch at position `at` of what was sent. Without the constraint, every device would
    silently gather and run the whole batch."""

    def pick(leaf):
        row = jax.lax.dynamic_index_in_dim(leaf, at, keepdims=False)
        return jax.lax.with_sharding_constraint(row, shardings.batch)

    return source.batch(arrays, jax.tree.map(pick, sent))


class TrainProgram:
    """Steps of an objective, compiled once for the whole run."""

    def __init__(
        self,
        objective: Objective,
        source: Source,
        hyperparameters: Hyperparameters,
        batch_size: int,
        length: int,
        seed: int,
        mesh: Mesh,
        batches_per_step: int = 1,
    ):
        devices = mesh.shape[DATA_AXIS]
        if batch_size % devices:
            raise InputError(
                f"batch_size = {batch_size}; expected a multiple of the {devices} devices, as"
                f" {max(batch_size // devices, 1) * devices}"
            )
        if batch_size * batches_per_step > source.size:
            each = f", {batches_per_step} a step" if batches_per_step > 1 else ""
            raise InputError(
                f"batch_size = {batch_size}{each}; expected at most the {source.size} training"
                " examples"
            )
        batch_size *= batches_per_step
        self._source, self._batch_size, self._seed, self.length = source, batch_size, seed, length
        self.shardings = shardings_of(mesh)
        self.keys = jax.device_put(keys_of(seed), self.shardings.whole)
        spec = source.spec(batch_size)
        self._init = lambda key: objective.init(key, spec, hyperparameters)
        state = jax.eval_shape(self._init, self.keys.init)
        _, sums = jax.eval_shape(objective.step, state, spec, self.keys.step)
        self.like = abstract({"state": state, "window": sums}, self.shardings.whole)
        self._arrays = jax.device_put(dict(source.arrays), self.shardings.whole)
        self._objective = objective

    @cached_property
    def _compiled(self) -> jax.stages.Compiled:
        shardings, source, objective = self.shardings, self._source, self._objective

        # The key is an argument, so that runs of all seeds share one program.
        def chunk(state, window, arrays, root, sent, count):
            def body(at, carry):
                state, window = carry
                batch = _batch_at(source, arrays, sent, at, shardings)
                key = jax.random.fold_in(root, state["step"])
                state, sums = objective.step(state, batch, key)
                return state, jax.tree.map(jnp.add, window, sums)

            # A count that is not static: one program for chunks of every length.
            return jax.lax.fori_loop(0, count, body, (state, window))

        whole = shardings.whole
        compiled = jax.jit(
            chunk,
            donate_argnums=(0, 1),
            in_shardings=(whole, whole, whole, whole, shardings.steps, whole),
            out_shardings=(whole, whole),
            compiler_options=cpu_compiler_options(),
        )
        like = self.like
        return compiled.lower(
            like["state"], like["window"], self._arrays, self.keys.step, self._padded(0, 1), 0
        ).compile()

    def _padded(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """What the source sends for these steps, as long as the longest chunk."""
        sent = self._source.order(self._batch_size, self._seed, start, stop)
        missing = self.length - (stop - start)
        return {
            name: np.pad(column, [(0, missing)] + [(0, 0)] * (column.ndim - 1))
            for name, column in sent.items()
        }

    def compile(self) -> None:
        """Compiles the steps, if that is not done yet; `run` would do it at its first call."""
        self._compiled  # noqa: B018

    def create(self) -> State:
        """The initial state."""
        return jax.jit(self._init, out_shardings=self.shardings.whole)(self.keys.init)

    def zeros(self) -> Metrics:
        """An empty window of metrics."""
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self.like["window"])
        return jax.device_put(zeros, self.shardings.whole)

    def run(self, state: State, window: Metrics, start: int, stop: int) -> tuple[State, Metrics]:
        """Steps start..stop-1. Takes state and window over; returns before the device is done."""
        sent = jax.device_put(self._padded(start, stop), self.shardings.steps)
        return self._compiled(state, window, self._arrays, self.keys.step, sent, stop - start)

    def batch(self, step: int) -> PyTree:
        """The batch of one step, on its own."""
        sent = self._source.order(self._batch_size, self._seed, step, step + 1)
        return self._source.batch(
            self._arrays, {name: jnp.asarray(c[0]) for name, c in sent.items()}
        )

    def text(self) -> str:
        """The optimised program."""
        return self._compiled.as_text()


class EvaluationProgram:
    """One pass over a split: every example exactly once, whatever the batch size."""

    def __init__(
        self, objective: Objective, source: Source, batch_size: int, key: Key[Array, ""], mesh: Mesh
    ):
        devices = mesh.shape[DATA_AXIS]
        batch_size = -(-min(batch_size, source.size) // devices) * devices
        shardings = shardings_of(mesh)
        self._size = source.size
        self._key = key
        self._arrays = jax.device_put(dict(source.arrays), shardings.whole)
        self._sent = jax.device_put(source.once(batch_size), shardings.steps)
        batches = len(next(iter(self._sent.values())))

        def batch_at(arrays, sent, at):
            return _batch_at(source, arrays, sent, at, shardings)

        def sums(state, arrays, sent, key):
            def of(at):
                return objective.evaluate(state, batch_at(arrays, sent, at), key)

            zeros = jax.tree.map(
                lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of, jnp.int32(0))
            )
            return jax.lax.fori_loop(
                0, batches, lambda at, total: jax.tree.map(jnp.add, total, of(at)), zeros
            )

        def outputs(state, arrays, sent, key):
            return jax.lax.map(
                lambda at: objective.predict(state, batch_at(arrays, sent, at), key),
                jnp.arange(batches),
            )

        options = cpu_compiler_options()
        self._sums = jax.jit(sums, out_shardings=shardings.whole, compiler_options=options)
        self._outputs = jax.jit(outputs, compiler_options=options)

    def evaluate(self, state: State) -> Metrics:
        """The sums over all examples, on the host."""
        return jax.device_get(self._sums(state, self._arrays, self._sent, self._key))

    def predict(self, state: State) -> PyTree:
        """The objective's predictions for all examples in order, on the host."""
        outputs = jax.device_get(self._outputs(state, self._arrays, self._sent, self._key))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: self._size], outputs)
