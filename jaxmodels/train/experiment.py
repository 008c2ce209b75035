"""What a script hands to the engine, and what the engine hands to it at an evaluation."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Int, Key

from jaxmodels.protocol import Batch, Metrics, Objective, PyTree, Score, Source, State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PerBatch = Callable[[State, Batch, Key[Array, ""]], PyTree]
Occasion = Literal["due", "last", "asked"]
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Evaluation(NamedTuple):
    """One evaluation of one split, as `after_evaluation` sees it.

    A function that `sum` or `map` takes is compiled once for as long as it is the same object.
    """

    step: int
    split: str
    state: State
    scores: dict[str, float]
    sums: Metrics  # of the objective's `evaluate`, on the host, counts in 64 bits
    occasion: Occasion  # in training, after its last step, or because a person asked for it
    # Any function of (state, batch, key) whose outputs add, over all examples of the split.
    sum: Callable[[PerBatch], Metrics]
    # Any function of (state, batch, key) whose outputs lead with the examples, for all of them in
    # order, or for those of some rows; on the host.
    map: Callable[..., PyTree]
    # The objective's samples for a key and conditions, the same on any number of devices.
    draw: Callable[[Key[Array, ""], PyTree], PyTree]
    # Examples of the split as they are stored, by their rows.
    examples: Callable[[Int[np.ndarray, " count"]], Mapping[str, np.ndarray]]
    # What `record` of this run's earlier evaluations said, by split.
    earlier: Mapping[str, dict[str, Any]] = NOTHING


class Findings(NamedTuple):
    """What `after_evaluation` returns; the engine writes all of it. A picture, text or sound that
    is None is removed where an earlier evaluation left one."""

    scores: Mapping[str, float] = NOTHING  # beside the objective's own
    record: Mapping[str, Any] | None = None  # of the split, in evaluation.json
    # Drawn after everything else is written: {"confusion": function that makes the figure}.
    pictures: Mapping[str, "Callable[[], Figure] | None"] = NOTHING
    texts: Mapping[str, str | None] = NOTHING  # {"samples.txt": ...}
    sounds: Mapping[str, bytes | None] = NOTHING  # {"first": content of a .wav file}


class Prediction(NamedTuple):
    """How --mode predict serves a path that the user names.

    read: a path to the names of its examples and their columns as a batch has them; an example
    that cannot be read is an error in place of its columns. write: outputs of one example to what
    its line of JSON holds beside "input".
    """

    read: Callable[[Path], Iterable[tuple[str, Mapping[str, np.ndarray] | Exception]]]
    predict: PerBatch
    write: Callable[[PyTree], dict[str, Any]]


class Experiment(NamedTuple):
    """An objective, its data and what the user is shown."""

    objective: Objective
    train: Source
    evaluation: Mapping[str, Source]  # "validation" (picks the best checkpoint), "test", others
    monitor: str  # the score that picks it
    scores: Mapping[str, Score]  # what every number means, of training too
    facts: Mapping[str, Any]  # of the data, recorded with the run; other facts are another run
    after_evaluation: Callable[[Evaluation], Findings | None] | None = None
    # The line shown for one line of metrics; None: nothing is shown.
    describe: Callable[[int, str, dict[str, float]], str | None] | None = None
    prediction: Prediction | None = None
