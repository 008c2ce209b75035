"""The contract between an objective, its data and the engine. Types, and nothing else.

An objective is a handful of pure functions. The engine (`jaxmodels.train`) compiles, shards,
scans, saves and replays them without knowing what they minimise.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from jaxmodels.order import Order

PyTree = Any
# Every leaf leads with the batch axis; evaluation adds "valid" (bool), "position" (in the split).
Batch = Mapping[str, Array]
BatchSpec = Mapping[str, jax.ShapeDtypeStruct]
State = PyTree  # a mapping of named parts; must have an int32 scalar "step"
Metrics = PyTree  # leaves that add over batches, steps and devices
Hyperparameters = Mapping[
    str, float | Array
]  # traced in the state, so that one program sweeps them

Losses = Callable[[PyTree], Float[Array, " batch"]]  # of parameters

DATA_AXIS = "data"  # divides batches; every device along it has the whole state
FSDP_AXIS = "fsdp"  # divides batches and, at rest, the state
MODEL_AXIS = "model"  # divides the products of a layer, and the parameters in them
BATCH_AXES = (DATA_AXIS, FSDP_AXIS)


class ShardingRule(NamedTuple):
    """How parameters, and the moments that belong to them, are divided over a mesh.

    pattern: a regular expression that is searched in the path, as "params/block_0/query/kernel".
    axes: of the mesh, for each axis of the array; None: not divided, ("fsdp", "model"): by both.
    exact: nothing is added; otherwise one more axis may be divided by fsdp.
    optional: the rule is for meshes that have several devices along its axes and divide the array;
      with other rules, an array that is not divided is an error.
    """

    pattern: str
    axes: tuple[str | tuple[str, ...] | None, ...]
    exact: bool = False
    optional: bool = False


class Sharding(NamedTuple):
    """How a model lies on a mesh; it stands in the model's file.

    late: the pattern of parameters that the model gathers itself where it uses them, by
      `across.gathered`, so that they are whole one layer at a time; "": none.
    """

    rules: tuple[ShardingRule, ...] = ()
    late: str = ""


BY_SIZE = Sharding()  # of a model without rules


class Objective(NamedTuple):
    """What is minimised, as pure functions; none of them is jitted here.

    init: makes the initial state; traceable, so the engine can jit it or only take its shapes.
    step: one update of everything that learns; the key is fold_in(root, step).
    evaluate: sums over the examples of one batch that `batch["valid"]` marks. The key is the same
    for all batches; noise from `example_keys` does not depend on how the split is divided.
    summarize: computes ratios of sums on the host, in float64; takes metrics of step or evaluate.
    sample: draws samples for a key and conditions (labels, a count), in chunks where many.
    losses: returns the parameters that a step changes, and the function of them that computes the
    loss of each example of the step's batch; their mean is what the step minimises. It is for
    `python -m jaxmodels.replay`.
    learned: returns the parts of a state that evaluation uses, {"params": ...} and more, whole:
    what other runs start from.
    with_learned: makes the state at step 0 whose learned parts are these; the inverse of `learned`.
    hyperparameters: the numbers that `init` puts into the state.
    """

    init: Callable[[Key, BatchSpec, Hyperparameters], State]
    step: Callable[[State, Batch, Key], tuple[State, Metrics]]
    evaluate: Callable[[State, Batch, Key], Metrics]
    summarize: Callable[[Metrics], dict[str, float]]
    sample: Callable[[State, Key, PyTree], PyTree] | None = None
    losses: Callable[[State, Batch, Key], "tuple[PyTree, Losses]"] | None = None
    learned: Callable[[State], PyTree] | None = None
    with_learned: Callable[[State, PyTree], State] | None = None
    hyperparameters: Hyperparameters = MappingProxyType({})

    @classmethod
    def of(cls, methods: Any) -> "Objective":
        """Makes an objective of an object's methods and attributes of these names."""
        return cls(
            **{name: getattr(methods, name) for name in cls._fields if hasattr(methods, name)}
        )


@runtime_checkable
class Source(Protocol):
    """Where batches come from: arrays on the device, and data that the host sends for each step.

    A source may have a method `key(row) -> str`, the name of an example, and, where that depends on
    more than the row, `keys(order, step) -> list[str]`, the names of the batch of a step; where the
    rows of a batch are not those of the order, `rows(order, step)`; and where batches are of
    several kinds, whose steps differ in work, `kinds(batch_size)`: of each, its share of the steps,
    and columns that are the same in all of its batches.
    """

    arrays: Mapping[str, np.ndarray]  # what lies on the device
    size: int  # number of examples
    bytes_sent: int  # about how many bytes the host sends for an example

    def spec(self, batch_size: int) -> BatchSpec:
        """Returns the shapes and types of a batch."""
        ...

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields what the host sends for each span of steps start..stop-1 (the spans are adjacent):
        its part of each batch, [length, part, ...]; the first stop - start steps count."""
        ...

    def examples(self, rows: Int[np.ndarray, " count"]) -> Mapping[str, np.ndarray]:
        """Returns these examples, on the host."""
        ...

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """Makes the batch of one step; traceable."""
        ...


class Metadata(NamedTuple):
    """What a run keeps of its data, for what reads none of their examples.

    facts: those of the run's record. sizes: the number of examples of each split. specs: of each
    split, the shapes and types of one example. values: what the package of the data has written, as
    JSON values: names of classes, statistics, a tokenizer.
    """

    facts: Mapping[str, Any]
    sizes: Mapping[str, int]
    specs: Mapping[str, BatchSpec]
    values: Mapping[str, Any]


class Mean(NamedTuple):
    """A mean kept as a sum and a count, so that it adds exactly over batches and devices.

    The count of a weighted mean is the sum of the weights.
    """

    total: Float[Array, ""]
    count: Int[Array, ""] | Float[Array, ""]

    def value(self) -> float:
        """Computes the mean in float64 on the host; NaN when nothing was counted."""
        return float(self.total) / float(self.count) if self.count else float("nan")


def mean_over(
    values: Shaped[Array, "*values"], valid: Bool[Array, "*values"] | None = None
) -> Mean:
    """Returns the Mean of values, one or several per example, without those that are not valid."""
    wide = jnp.promote_types(values.dtype, jnp.float32)
    if valid is None:
        return Mean(jnp.sum(values, dtype=wide), jnp.asarray(values.size, jnp.int32))
    total = jnp.sum(jnp.where(valid, values, 0), dtype=wide)
    return Mean(total, jnp.sum(valid, dtype=jnp.int32))


class Score(NamedTuple):
    """The meaning of a number in metrics.jsonl, declared once, where the number is computed.

    better: which values are better; "neither" for a number that only describes.
    """

    better: Literal["lower", "higher", "neither"]
    unit: str  # "nats", "bits per byte"; "" for a plain ratio or count
    meaning: str  # one line


def example_keys(
    key: Key[Array, ""], positions: Int[Array | np.ndarray, " batch"]
) -> Key[Array, " batch"]:
    """Makes one key per example from its *global* position: in training that in the batch
    (`across.positions`), in evaluation that in the split (`batch["position"]`).

    Noise, dropout and augmentation drawn from these do not depend on the number of devices.
    """
    return jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
