"""Training metrics on their way from the device to files and screen."""

import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
from jaxtyping import Array

from jaxmodels.errors import RunError
from jaxmodels.protocol import Metrics, State
from jaxmodels.run_record import MFU_COUNTS
from jaxmodels.train.config import Config
from jaxmodels.train.digest import written
from jaxmodels.train.experiment import Experiment
from jaxmodels.train.layout import on_host
from jaxmodels.train.progress import Progress
from jaxmodels.train.run_folder import RunFolder, score_fields

ADVICE = (
    "; checkpoints saved before are kept. Try a lower --learning-rate or --clip 1, leave such"
    " batches out: --on-nonfinite rollback, or find the layer: the same command with --debug"
)


class Diverged(RunError):
    """A number that is not finite.

    what: the beginning of a sentence, as "train loss is". step: by which it was found.
    """

    def __init__(self, what: str, step: int):
        super().__init__(not_finite(what, step))
        self.what, self.step = what, step


class Window(NamedTuple):
    """What a line of training metrics is made of, on the devices."""

    step: int
    sums: Metrics
    digest: Array  # of the state
    refused: list[Array]  # steps that were left out as not finite


class Log:
    """Windows of metrics on their way from the device to the files.

    A window is fetched when the next chunk of steps has been dispatched, so that the device never
    waits for the host.
    """

    def __init__(
        self,
        experiment: Experiment,
        config: Config,
        folder: RunFolder,
        progress: Progress,
        start: int,
    ):
        self._experiment, self._config, self._folder = experiment, config, folder
        self._progress = progress
        self._waiting: deque[Window] = deque()
        self._step = start
        self._seconds = self._paused = self._waited_before = 0.0
        # The share of the devices' peak that one step per second takes; None: not known.
        self.share: float | None = None
        # Gives the seconds so far in which the device waited for data.
        self.waited: Callable[[], float] = lambda: 0.0
        self._clock = time.perf_counter()

    def add(self, step: int, sums: Metrics, digest: Array, refused: list[Array]) -> None:
        """Takes a full window; writes the windows before it."""
        self._waiting.append(Window(step, sums, digest, refused))
        while len(self._waiting) > 1:
            self._fetch()

    @contextlib.contextmanager
    def paused(self, state: State) -> Iterator[None]:
        """Writes all windows; time spent inside does not count in the rate of training."""
        while self._waiting:
            self._fetch()
        jax.block_until_ready(state)
        began = time.perf_counter()
        with self._progress.hidden():
            yield
        self._paused += time.perf_counter() - began

    def write(self, step: int, split: str, scores: dict[str, float], is_last: bool = False) -> None:
        """Adds a line to metrics.jsonl and prints it as the experiment describes it.

        is_last: the scores are those of the run, which a summary may print.
        """
        self._folder.append(step, split, scores)
        if is_last and self._folder.is_summarized:
            return
        describe = self._experiment.describe or self._describe
        line = describe(step, split, scores)
        if line is not None:
            print(line, flush=True)

    def _describe(self, step: int, split: str, scores: dict[str, float]) -> str | None:
        if split == "train" and self._progress.visible:
            return None  # the bar shows it
        return " ".join([f"step={step}", *score_fields(split, scores)])

    def _fetch(self) -> None:
        step, *window = self._waiting.popleft()
        sums, digest, refused = on_host(window)
        scores = self._experiment.objective.summarize(sums)
        scores = {name: float(value) for name, value in scores.items()}
        now = time.perf_counter()
        elapsed, steps = now - self._clock - self._paused, step - self._step
        self._clock, self._step, self._paused = now, step, 0.0
        self._seconds += elapsed
        rate = steps / elapsed
        waited = self.waited()
        waiting, self._waited_before = (waited - self._waited_before) / elapsed, waited
        self.write(step, "train", scores)
        left_out = int(sum(refused))
        if left_out:
            print(
                f"note: {left_out} of the {steps} steps before step {step} were not finite and were"
                " skipped",
                file=sys.stderr,
            )
        for name, value in scores.items():
            # A window in which every step was skipped has no mean.
            if not math.isfinite(value) and left_out < steps:
                raise Diverged(f"train {name} is", step)
        tokens = self._experiment.tokens
        examples = rate * self._config.run.batch_size * self._config.batches_per_step
        self._folder.append_speed(
            step=step,
            steps_per_second=rate,
            examples_per_second=examples,
            **({"tokens_per_second": examples * tokens} if tokens else {}),
            seconds=self._seconds,
            waiting=min(waiting, 1.0),
            state=written(digest),
            **self._utilization(rate),
            **({"skipped": left_out} if left_out else {}),
        )
        self._progress.show(scores, rate)

    def _utilization(self, rate: float) -> dict[str, float | str]:
        return {} if self.share is None else {"mfu": self.share * rate, "mfu_counts": MFU_COUNTS}


def not_finite(what: str, step: int, advice: str = ADVICE) -> str:
    """Returns the message of a run that diverged."""
    return f"{what} not finite by step {step}{advice}"
