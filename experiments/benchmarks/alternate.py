"""Times several programs side by side, in turns, each in a process of its own.

A module of peers defines functions peer(task) -> block. block(steps) runs that many training steps,
waits until they are done, and returns None or the seconds in which it waited for data. Each peer is
tried with one thread and with all, and the faster setting is timed. A module may have a dict FACTS,
to which a peer adds what should stand beside its times. While one peer runs, the others
and their children are stopped. Turns alternate, so that a change of the machine's pace affects all
peers.
"""

import contextlib
import importlib
import json
import math
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

NOTHING: Mapping[str, Any] = MappingProxyType({})
THREADS = "BENCHMARK_THREADS"  # environment variable of a worker
_SHOWN = 80  # characters of an error in a table
_KEPT = 2000  # last characters of a worker's output


def cores() -> int:
    """Counts the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Timing(NamedTuple):
    """The seconds per step of each turn of a peer, or why it did not run.

    unavailable: the reason; empty if it ran.
    waited: mean seconds per step in which it waited for data.
    detail: the log of a failure.
    facts: versions, settings and memory of its process.
    """

    peer: str
    seconds: tuple[float, ...]
    threads: int
    unavailable: str = ""
    waited: float = 0.0
    detail: str = ""
    facts: Mapping[str, Any] = NOTHING

    @property
    def median(self) -> float:
        """Median seconds per step."""
        return statistics.median(self.seconds)


class Unavailable(Exception):
    """A peer does not run; has a short reason and the log of the failure."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class Worker:
    """A process that runs one peer and starts to prepare it at once.

    deadline: the time after which no answer is waited for, by `time.monotonic`.
    """

    def __init__(
        self,
        module: str,
        peer: str,
        task: str,
        threads: int,
        environment: Mapping[str, str] = NOTHING,
        deadline: float = math.inf,
    ):
        self.peer, self.threads, self.steps = peer, threads, 1
        self.seconds: list[float] = []
        self.waited: list[float] = []
        self.pace = math.nan
        self.facts: Mapping[str, Any] = NOTHING
        self._deadline = deadline
        self._written = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.alternate", module, peer, task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._written,
            text=True,
            env={**os.environ, **environment, THREADS: str(threads)},
            # Signals reach its children too, and the system ends a stopped group without a parent.
            process_group=0,
        )

    def set_up(self) -> None:
        """Compiles and warms up.

        Raises:
          Unavailable: an error, or no answer before the deadline.
        """
        self._answer()
        for steps in (1, 1, 3):
            self.run(steps)

    def run(self, steps: int) -> float:
        """Runs steps; returns the seconds per step. Between two calls the process is stopped.

        Raises:
          Unavailable: an error, or no answer before the deadline.
        """
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        answer = self._answer()
        self._signal(signal.SIGSTOP)
        self._waited, self.facts = answer["waited"] / steps, answer["facts"]
        return answer["seconds"] / steps

    def take_turn(self) -> None:
        """Runs one turn and records its time."""
        self.seconds.append(self.run(self.steps))
        self.waited.append(self._waited)

    def calibrate(self, seconds: float) -> float:
        """Chooses the steps of a turn of about `seconds`; returns the seconds per step."""
        self.pace = self.run(3)
        while self.pace * self.steps < seconds / 2:
            # The number grows in small leaps, because prefetched data makes the first steps fast.
            self.steps = max(self.steps + 1, min(4 * self.steps, int(seconds / self.pace)))
            self.pace = self.run(self.steps)
        return self.pace

    def timing(self, detail: str = "") -> Timing:
        """Returns the times of its turns; if it took none, the pace of `calibrate`."""
        waited = statistics.mean(self.waited) if self.waited else self._waited
        seconds = tuple(self.seconds) or (self.pace,)
        return Timing(self.peer, seconds, self.threads, "", waited, detail, self.facts)

    def close(self) -> None:
        """Closes the input of the process, which makes it exit; kills it if it does not."""
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()
        self._written.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _answer(self) -> dict:
        """Reads the next answer; the process writes one when it is ready and one per call."""
        if self._deadline < math.inf:
            left = max(self._deadline - time.monotonic(), 0.0)
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise Unavailable("no answer before the deadline", self._end_of_written())
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise Unavailable(f"its process ended with {code}", self._end_of_written())
        answer = json.loads(line)
        if "unavailable" in answer:
            raise Unavailable(answer["unavailable"], answer["detail"])
        return answer

    def _end_of_written(self) -> str:
        # The process, which shares the file's offset, may still be writing.
        file = self._written.fileno()
        size = os.fstat(file).st_size
        return os.pread(file, _KEPT, max(size - _KEPT, 0)).decode("utf-8", "replace")


def time_in_turns(
    module: str,
    peers: Sequence[str],
    task: str,
    turns: int = 5,
    seconds: float = 1.0,
    all_cores: bool = False,
    together: bool = False,
    environment: Mapping[str, str] = NOTHING,
    deadline: float = math.inf,
) -> list[Timing]:
    """Times the peers on a task, the argument of the module's functions.

    all_cores: tries no peer with one thread, for peers that choose their number of threads.
    together: prepares all peers at the same time, with all cores; they still compile and run one at
      a time.
    environment: variables of the processes, which override those of this one.
    deadline: by `time.monotonic`; a peer that is late is unavailable, or has fewer turns.
    """
    all_of_them = cores()
    counts = (all_of_them,) if all_cores or together else tuple(dict.fromkeys((1, all_of_them)))
    begun: list[Worker] = []

    def begin(peer: str, threads: int) -> Worker:
        begun.append(Worker(module, peer, task, threads, environment, deadline))
        return begun[-1]

    try:
        early = {peer: begin(peer, all_of_them) for peer in peers} if together else {}
        chosen: dict[str, Worker] = {}
        timings: dict[str, Timing] = {}
        for peer in peers:
            candidates = []
            for threads in counts:
                worker = early.get(peer) or begin(peer, threads)
                try:
                    worker.set_up()
                    candidates.append((worker.calibrate(seconds), threads, worker))
                except Unavailable as error:
                    worker.close()
                    timings[peer] = _missing(peer, threads, error)
                    break
            candidates.sort(key=lambda candidate: candidate[:2])
            if candidates:
                chosen[peer] = candidates[0][2]
            for _, _, worker in candidates[1:]:
                worker.close()
        timings |= _alternated(chosen, turns)
        return [timings[peer] for peer in peers]
    finally:
        for worker in begun:
            worker.close()


def _alternated(workers: Mapping[str, Worker], turns: int) -> dict[str, Timing]:
    """Times peers that are set up; one that fails on the way keeps its turns so far."""
    failed: dict[str, str] = {}
    for turn in range(turns):
        going = [worker for peer, worker in workers.items() if peer not in failed]
        for worker in going if turn % 2 == 0 else reversed(going):
            try:
                worker.take_turn()
            except Unavailable as error:
                failed[worker.peer] = f"turn {turn + 1}: {error.reason} {error.detail}"
    return {peer: worker.timing(failed.get(peer, "")) for peer, worker in workers.items()}


def _missing(peer: str, threads: int, error: Unavailable) -> Timing:
    return Timing(peer, (), threads, error.reason, detail=error.detail)


def _work(module: str, peer: str, task: str) -> None:
    """Runs a peer in the worker's process."""
    threads = int(os.environ[THREADS])
    # Libraries read it when they start their pool of threads.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def answer(**values) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        peers = importlib.import_module(module)
        block = getattr(peers, peer)(task)
        answer()
        for line in sys.stdin:
            began = time.perf_counter()
            waited = block(int(line))
            seconds = time.perf_counter() - began
            facts = _facts() | getattr(peers, "FACTS", {})
            answer(seconds=seconds, waited=waited or 0.0, facts=facts)
    except Exception as error:  # the table reports any failure
        first = (str(error).splitlines() or [""])[0][:_SHOWN]
        detail = traceback.format_exc()[-_KEPT:]
        answer(unavailable=f"{type(error).__name__}: {first}", detail=detail)


def _facts() -> dict[str, Any]:
    """Returns versions, settings and memory of the libraries that this process imported."""
    facts: dict[str, Any] = {}
    if torch := sys.modules.get("torch"):
        facts["torch"] = torch.__version__
        if torch.cuda.is_available():
            facts["tf32"] = bool(torch.backends.cuda.matmul.allow_tf32)
            facts["peak_bytes"] = torch.cuda.max_memory_allocated()
    elif jax := sys.modules.get("jax"):
        facts["jax"] = jax.__version__
        if jax.default_backend() == "gpu":
            precision = jax.config.jax_default_matmul_precision
            facts["tf32"] = precision in (None, "default", "high", "tensorfloat32")
            facts["peak_bytes"] = (jax.local_devices()[0].memory_stats() or {}).get(
                "peak_bytes_in_use"
            )
    return facts


if __name__ == "__main__":
    _work(*sys.argv[1:])
