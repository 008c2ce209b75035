"""Times several programs side by side, in turns, each in a process of its own.

A module of peers has functions peer(task) -> block, where block(steps) runs that many training
steps and returns when they are done: nothing, or the seconds in which it waited for data. Every
peer is tried with one thread and with all; the faster one is timed. While one peer runs the others
are stopped, with what they do in the background, and the turns alternate, so that a change of the
machine's pace meets them all.
"""

import contextlib
import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple


class Timing(NamedTuple):
    """Seconds per step of each turn; or why there is none.

    waited: seconds per step in which the peer says that it waited for data, on average.
    """

    peer: str
    seconds: tuple[float, ...]
    threads: int
    unavailable: str = ""
    waited: float = 0.0

    @property
    def median(self) -> float:
        """Median seconds per step."""
        return statistics.median(self.seconds)


class Worker:
    """A peer set up in a process of its own, waiting for its turn."""

    def __init__(self, module: str, peer: str, task: str, threads: int):
        self.peer, self.threads, self.steps = peer, threads, 1
        self.seconds: list[float] = []
        self.waited: list[float] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.alternate", module, peer, task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "BENCHMARK_THREADS": str(threads)},
            # Stopped with its children; and the system ends stopped groups that lose their parent.
            process_group=0,
        )

    def set_up(self) -> str:
        """Compiles and warms up; why it cannot, or nothing."""
        problem = self._answer()["unavailable"]
        if not problem:
            self.run(1)
            self.run(3)
        return problem

    def run(self, steps: int) -> float:
        """Seconds per step. Between two calls the process and its children stand still."""
        self._signal(signal.SIGCONT)
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        answer = self._answer()
        self._signal(signal.SIGSTOP)
        self._waited = answer["waited"] / steps
        return answer["seconds"] / steps

    def take_turn(self) -> None:
        """Runs, and keeps the time."""
        self.seconds.append(self.run(self.steps))
        self.waited.append(self._waited)

    def calibrate(self, seconds: float) -> float:
        """Chooses how many steps a turn of about that long has; the pace found on the way."""
        pace = self.run(3)
        while pace * self.steps < seconds / 2:
            # In small leaps: the first steps may be those of which the data was there already.
            self.steps = max(self.steps + 1, min(4 * self.steps, int(seconds / pace)))
            pace = self.run(self.steps)
        return pace

    def close(self) -> None:
        """Ends the process."""
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"unavailable": "its process ended"}


def time_in_turns(
    module: str,
    peers: Sequence[str],
    task: str,
    turns: int = 5,
    seconds: float = 1.0,
    all_cores: bool = False,
) -> list[Timing]:
    """Timings of the peers on a task (a name that the module's peers know).

    all_cores: no peer is tried with one thread: for those that say themselves how many they use.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    chosen: list[Worker] = []
    missing: list[Timing] = []
    for peer in peers:
        candidates = []
        for threads in dict.fromkeys((cores,) if all_cores else (1, cores)):
            worker = Worker(module, peer, task, threads)
            problem = worker.set_up()
            if problem:
                worker.close()
                missing.append(Timing(peer, (), threads, problem))
                break
            candidates.append((worker.calibrate(seconds), threads, worker))
        candidates.sort(key=lambda candidate: candidate[:2])
        chosen += [worker for _, _, worker in candidates[:1]]
        for _, _, worker in candidates[1:]:
            worker.close()
    for turn in range(turns):
        for worker in chosen if turn % 2 == 0 else reversed(chosen):
            worker.take_turn()
    for worker in chosen:
        worker.close()
    timings = {
        w.peer: Timing(w.peer, tuple(w.seconds), w.threads, waited=statistics.mean(w.waited))
        for w in chosen
    }
    timings |= {timing.peer: timing for timing in missing}
    return [timings[peer] for peer in peers]


def _work(module: str, peer: str, task: str) -> None:
    """The worker's process."""
    threads = int(os.environ["BENCHMARK_THREADS"])
    # Before anything makes its pool of threads.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**values) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        block = getattr(importlib.import_module(module), peer)(task)
        block(1)
        answer(unavailable="")
    except Exception as error:  # whatever keeps a peer from running is what the table reports
        answer(unavailable=f"{type(error).__name__}: {str(error).splitlines()[0][:80]}")
        return
    for line in sys.stdin:
        began = time.perf_counter()
        waited = block(int(line))
        answer(seconds=time.perf_counter() - began, waited=waited or 0.0)


if __name__ == "__main__":
    _work(*sys.argv[1:])
