"""The contract between an objective and the engine. Everything else may change; this should not.

An objective is a handful of pure functions. The engine (`jaxmodels.train`) compiles, shards,
scans, saves and replays them without knowing what they minimise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Num

PyTree = Any
# Every leaf leads with the batch axis; evaluation adds "valid" (bool), "position" (in the split).
Batch = dict[str, Array]
BatchSpec = dict[str, jax.ShapeDtypeStruct]
State = PyTree  # named parts; must have an int32 scalar `step`
Metrics = PyTree  # leaves that add over batches, steps and devices
Hyperparameters = dict[str, float]  # traced in the state, so that many can be swept in one program

DATA_AXIS = "data"


class Objective(NamedTuple):
    """What is minimised, as pure functions; none of them is jitted here.

    init: traceable, so the engine can jit it with shardings or only take its shape.
    step: one update of everything that learns; the key is fold_in(root, step).
    evaluate: sums over the examples of one batch that `batch["valid"]` marks. The key is the same
    for all batches; `example_keys` makes noise of it that does not depend on how they are divided.
    summarize: on the host, in float64: ratios of the sums. Takes the metrics of step or evaluate.
    predict: per-example outputs. sample: a key and conditions (labels, a count) -> samples, in
    chunks where they are many.
    """

    init: Callable[[Key, BatchSpec, Hyperparameters], State]
    step: Callable[[State, Batch, Key], tuple[State, Metrics]]
    evaluate: Callable[[State, Batch, Key], Metrics]
    summarize: Callable[[Metrics], dict[str, float]]
    predict: Callable[[State, Batch, Key], PyTree] | None = None
    sample: Callable[[State, Key, PyTree], PyTree] | None = None


class Mean(NamedTuple):
    """A mean kept as a sum and a count, so that it adds exactly over batches and devices."""

    total: Float[Array, ""]
    count: Int[Array, ""]

    def value(self) -> float:
        """The mean, in float64 on the host; NaN when nothing was counted."""
        return float(self.total) / float(self.count) if self.count else float("nan")


def mean_over(values: Float[Array, " batch"], valid: Bool[Array, " batch"] | None = None) -> Mean:
    """The Mean of one value per example; examples that are not valid count nothing."""
    if valid is None:
        return Mean(jnp.sum(values, dtype=jnp.float32), jnp.asarray(values.size, jnp.int32))
    total = jnp.sum(jnp.where(valid, values, 0), dtype=jnp.float32)
    return Mean(total, jnp.sum(valid, dtype=jnp.int32))


def _data_axis_is_bound() -> bool:
    try:
        jax.lax.axis_index(DATA_AXIS)
    except NameError:
        return False
    return True


def average_across_devices(tree: PyTree) -> PyTree:
    """Averages over the named data axis under pmap; under jit the mesh already computes globally.

    Objectives call it on gradients and BatchNorm on its statistics, without knowing which runs.
    """
    return jax.lax.pmean(tree, DATA_AXIS) if _data_axis_is_bound() else tree


def gather_across_devices(tree: PyTree) -> PyTree:
    """Along the first axis the examples of all devices, for what compares the examples of a batch;
    under jit the batch has them already. Gradients flow to where each example came from."""
    if not _data_axis_is_bound():
        return tree
    return jax.lax.all_gather(tree, DATA_AXIS, tiled=True)


def take_across_devices(
    values: Num[Array, "local ..."], rows: Int[Array, " count"]
) -> Num[Array, "count ..."]:
    """These rows, which are alike on all devices, of the values of all devices."""
    if not _data_axis_is_bound():
        return values[rows]
    local = rows - first_position(len(values))
    mine = (local >= 0) & (local < len(values))
    found = values[jnp.where(mine, local, 0)]
    mine = mine.reshape(-1, *[1] * (values.ndim - 1))
    return jax.lax.psum(jnp.where(mine, found, 0), DATA_AXIS)


def global_count(count: int) -> int:
    """How many examples all devices have, of which this one has `count`."""
    return jax.lax.axis_size(DATA_AXIS) * count if _data_axis_is_bound() else count


def first_position(count: int) -> Int[Array, ""] | int:
    """The position in the global batch of the first of this device's `count` examples."""
    return jax.lax.axis_index(DATA_AXIS) * count if _data_axis_is_bound() else 0


def example_keys(
    key: Key[Array, ""], count: int, positions: Int[Array, " batch"] | None = None
) -> Key[Array, " batch"]:
    """One key per example, from its *global* position in the batch, or from `positions` (in
    evaluation `batch["position"]`, that in the split).

    Noise, dropout and augmentation drawn from these do not depend on the number of devices.
    """
    if positions is None:
        positions = first_position(count) + jnp.arange(count)
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
