"""What a script gives to the engine, and what the engine gives to it at an evaluation."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Int, Key

from jaxmodels.pretrained.names import Published
from jaxmodels.pretrained.weights import Weights
from jaxmodels.protocol import (
    BY_SIZE,
    Batch,
    Metrics,
    Objective,
    PyTree,
    Score,
    Sharding,
    Source,
    State,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmodels.train.start import Start

PerBatch = Callable[[State, Batch, Key[Array, ""]], PyTree]
Occasion = Literal["due", "last", "asked"]
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Evaluation(NamedTuple):
    """One evaluation of one split, as `after_evaluation` sees it.

    `sum` and `map` compile a function once, as long as it is passed as the same object.
    """

    step: int
    split: str
    state: State
    scores: dict[str, float]
    sums: Metrics  # of the objective's `evaluate`, on the host, counts in 64 bits
    occasion: Occasion  # during training, after its last step, or by --mode evaluate
    # Adds the outputs of a function (state, batch, key) over all examples of the split.
    sum: Callable[[PerBatch], Metrics]
    # Returns the outputs [example, ...] of a function (state, batch, key) on the host, for all
    # examples in order; map(function, rows) for some.
    map: Callable[..., PyTree]
    # Draws samples for a key and conditions, the same on any number of devices.
    draw: Callable[[Key[Array, ""], PyTree], PyTree]
    # Reads examples of the split, as they are stored, by their rows.
    examples: Callable[[Int[np.ndarray, " count"]], Mapping[str, np.ndarray]]
    # The latest `record` of each split from earlier evaluations of this run.
    earlier: Mapping[str, dict[str, Any]] = NOTHING


class Findings(NamedTuple):
    """What `after_evaluation` returns; the engine writes all of it. A picture, text or sound that
    is None is removed where an earlier evaluation left one."""

    scores: Mapping[str, float] = NOTHING  # added to the objective's own
    record: Mapping[str, Any] | None = None  # the split's entry in evaluation.json
    # Drawn after everything else is written: {"confusion": function that makes the figure}.
    pictures: Mapping[str, "Callable[[], Figure] | None"] = NOTHING
    texts: Mapping[str, str | None] = NOTHING  # {"samples.txt": ...}
    sounds: Mapping[str, bytes | None] = NOTHING  # {"first": content of a .wav file}


class Prediction(NamedTuple):
    """How --mode predict serves a path that the user names, and `Run.predict` arrays too.

    read: yields the name and the columns of each example at a path, or in arrays of a kind that it
      knows. An example that cannot be read has its error in place of the columns.
    predict: computes the outputs of a batch of such columns.
    write: makes a mapping for JSON of one example's outputs, which are arrays of numpy; the engine
      adds "input", the name.
    """

    read: Callable[[Any], Iterable[tuple[str, Mapping[str, np.ndarray] | Exception]]]
    predict: PerBatch
    write: Callable[[PyTree], dict[str, Any]]
    # Reconstructs each example as an image of bytes, for --mode sample --input; None: it cannot.
    rebuild: PerBatch | None = None


class Texts(NamedTuple):
    """How --mode sample writes texts.

    conditions: makes the conditions of the objective's `sample` from its key.
    lines: makes the JSON line of each sample, from the conditions and the samples.
    stream: yields what standard output shows while the samples of (state, key, conditions) are
      drawn.
    """

    conditions: Callable[[Key[Array, ""]], PyTree]
    lines: Callable[[PyTree, PyTree], Iterable[dict[str, Any]]]
    stream: Callable[[State, Key[Array, ""], PyTree], Iterable[str]]


class Elsewhere(NamedTuple):
    """Other data to evaluate a run on, prepared as the run's own."""

    name: str
    fingerprint: str
    sources: Mapping[str, Source]  # by split
    # Replaces the experiment's `after_evaluation`, where that looks at the run's own data; None:
    # the experiment's own does for these too.
    after_evaluation: "Callable[[Evaluation], Findings | None] | None" = None


def take_all(sources: Mapping[str, Source]) -> None:
    """Takes any splits, as `Experiment.require_scorable`."""


class Experiment(NamedTuple):
    """An objective, its data and what to show of them."""

    objective: Objective
    train: Source
    evaluation: Mapping[str, Source]  # "validation" (picks the best checkpoint), "test", others
    monitor: str  # name of the score that picks it
    scores: Mapping[str, Score]  # what every number means, of training too
    facts: Mapping[str, Any]  # of the data, recorded with the run; other facts make another run
    after_evaluation: Callable[[Evaluation], Findings | None] | None = None
    # Raises InputError where splits cannot be scored (too few images, no judge). The engine calls
    # it with the sources to evaluate, before it trains and before --mode evaluate; it may make what
    # the scores need, as a judge.
    require_scorable: Callable[[Mapping[str, Source]], None] = take_all
    # Formats a line of metrics for the screen; None shows nothing.
    describe: Callable[[int, str, dict[str, float]], str | None] | None = None
    prediction: Prediction | None = None
    introduction: str = ""  # a line about the data, shown where training begins
    # Makes the conditions of --mode sample from its key; None: the number of samples.
    conditions: Callable[[Key[Array, ""]], PyTree] | None = None
    # Opens other data than the run's, which a config names, for --mode evaluate --data OTHER.
    elsewhere: Callable[[Any], Elsewhere] | None = None
    # How --mode sample writes texts; None: samples are images.
    texts: Texts | None = None
    # By the format that --mode export names: a function that writes a state's model to a new path.
    exports: Mapping[str, Callable[[State, Path], None]] = NOTHING
    # Makes the table of names of published weights for the run's model; None: it has none.
    published: Callable[[Weights], Published] | None = None
    # What a new run starts from; the engine opens what --init-from names.
    start: "Start | None" = None
    # Raises RunError if the compiled steps, given as text, lack something (a fused kernel, say).
    verify: Callable[[str], None] | None = None
    # What --mode predict, sample and export need of the data, as JSON values: the run keeps it, and
    # `build` is then given a `Metadata` with it in place of data. None: they read the data.
    metadata: Mapping[str, Any] | None = None
    # How the model lies on a mesh with axes besides data; parameters without a rule are divided
    # by their size.
    sharding: Sharding = BY_SIZE
    # The places for tokens of text in an example of training, for rates of tokens; 0: it is no
    # text.
    tokens: int = 0
