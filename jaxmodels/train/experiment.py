"""What a script hands to the engine."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from jaxtyping import Array

from jaxmodels.protocol import Batch, BatchSpec, Hyperparameters, Metrics, Objective, PyTree, State


class Source(Protocol):
    """Where batches come from: part lies on the device, part the host sends for each step."""

    arrays: Mapping[str, np.ndarray]
    size: int  # number of examples

    def spec(self, batch_size: int) -> BatchSpec:
        """Shapes and types of a batch."""

    def order(self, batch_size: int, seed: int, start: int, stop: int) -> dict[str, np.ndarray]:
        """What the host sends for training steps start..stop-1, leading with the step."""

    def once(self, batch_size: int) -> dict[str, np.ndarray]:
        """What it sends for one pass over all examples, padded and marked in "valid", each
        with its "position"."""

    @staticmethod
    def batch(arrays: Mapping[str, Array], sent: Mapping[str, Array]) -> Batch:
        """The batch of one step; traceable."""


class Evaluation(NamedTuple):
    """One evaluation of one split, as `after_evaluation` sees it."""

    step: int
    split: str
    state: State
    source: Source
    sums: Metrics  # on the host
    scores: dict[str, float]
    is_last: bool
    predict: Callable[[], PyTree]  # the objective's predictions for all examples, on the host
    workdir: Path | None  # where pictures go; None: draw none


class Experiment(NamedTuple):
    """An objective, its data and what the user is shown."""

    objective: Objective
    hyperparameters: Hyperparameters
    train: Source
    evaluation: Mapping[str, Source]  # "validation" (picks the best checkpoint), "test"
    monitor: tuple[str, Literal["min", "max"]]  # the score that picks it
    facts: dict[str, Any]  # of the data, recorded with the run; other facts are another run
    # Draws pictures; scores that it returns are added to the line of the split.
    after_evaluation: Callable[[Evaluation], dict[str, float] | None] | None = None
    # The line shown for one line of metrics; None: nothing is shown.
    describe: Callable[[int, str, dict[str, float]], str | None] | None = None
