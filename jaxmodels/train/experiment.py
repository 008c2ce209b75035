"""What a script hands to the engine."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from jaxtyping import Array

from jaxmodels.order import Order
from jaxmodels.protocol import Batch, BatchSpec, Hyperparameters, Metrics, Objective, PyTree, State


class Source(Protocol):
    """Where batches come from: part lies on the device, part the host sends for each step."""

    arrays: Mapping[str, np.ndarray]  # what lies on the device
    size: int  # number of examples
    bytes_sent: int  # about how many the host sends for an example

    def spec(self, batch_size: int) -> BatchSpec:
        """Shapes and types of a batch."""

    def send(
        self, order: Order, spans: Iterable[tuple[int, int]], length: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """For each span of steps start..stop-1, which follow one another, what the host sends: its
        part of each batch, [length, part, ...], of which the first stop - start steps count."""

    def examples(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        """These examples, on the host."""

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
