"""Long runs: does memory, do files and threads grow, does saving slow down, what does it cost.

    python -m experiments.benchmarks.soak                                # a short form, minutes
    python -m experiments.benchmarks.soak --steps 1000000 --seconds 3600 --data-dir DIR

Every run is a process of its own, which is looked at once a second from outside. A slope is that of
the least squares through the second half of what was seen, since caches fill in the first.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_STARTED = "SOAK_STARTED"  # the time at which a worker was started
_NET = "--model mlp --hidden 32 --batch-size 32 --steps-per-dispatch 1000"
_PARTS = ("steps", "streamed", "report", "saving", "resume")


class Look(NamedTuple):
    """What a process holds at one moment."""

    seconds: float
    megabytes: float
    files: int
    threads: int


def _look(process: int, began: float) -> Look | None:
    place = Path("/proc") / str(process)
    try:
        status = dict(
            line.split(":", 1)
            for line in (place / "status").read_text().splitlines()
            if ":" in line
        )
        memory = int(status["VmRSS"].split()[0]) / 1024
        files = len(os.listdir(place / "fd"))
    except (OSError, KeyError):  # it has ended
        return None
    return Look(time.monotonic() - began, memory, files, int(status["Threads"]))


def _run(flags: Sequence[str], seconds: float | None = None) -> tuple[dict[str, Any], list[Look]]:
    """Runs a classifier in a worker; returns what the worker measured and how it looked.

    seconds: after these it is asked to stop.
    """
    command = [sys.executable, "-m", "experiments.benchmarks.soak", "--worker", *flags]
    with tempfile.TemporaryFile("w+") as said:
        environment = os.environ | {_STARTED: str(time.time())}
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        began, looks, asked = time.monotonic(), [], False
        while process.poll() is None:
            if look := _look(process.pid, began):
                looks.append(look)
            if seconds and not asked and time.monotonic() - began > seconds:
                process.send_signal(signal.SIGTERM)
                asked = True
            time.sleep(1)
        said.seek(0)
        lines = said.read().splitlines()
    if process.returncode not in (0, 75):
        raise SystemExit("\n".join(lines[-20:]))
    found = json.loads(lines[-1])
    # The end of a run reads all of its lines and draws them, once.
    return found, [look for look in looks if look.seconds < found["last_step"]]


def _worker(flags: Sequence[str]) -> None:
    """Trains a classifier; prints the seconds of training, of each save, until the first step."""
    from experiments import classifier
    from jaxmodels.train import main
    from jaxmodels.train.checkpoint import Checkpoints
    from jaxmodels.train.course import Course
    from jaxmodels.train.program import TrainProgram

    started, saves, found = float(os.environ[_STARTED]), [], {}
    save, go, run = Checkpoints.save, Course.go, TrainProgram.run

    def timed_save(self, step, tree, facts):
        began = time.perf_counter()
        save(self, step, tree, facts)
        saves.append((step, time.perf_counter() - began))

    def timed_go(self):
        began = time.perf_counter()
        go(self)
        found["seconds"] = time.perf_counter() - began

    def timed_run(self, *arguments):
        state = run(self, *arguments)
        found.setdefault("first_step", time.time() - started)
        found.setdefault("first_step_cpu", time.process_time())
        found["last_step"] = time.time() - started
        return state

    Checkpoints.save, Course.go, TrainProgram.run = timed_save, timed_go, timed_run
    code = main(classifier.ClassifierConfig, classifier.build, {}, list(flags))
    print(json.dumps({**found, "saves": saves}), flush=True)
    sys.exit(code)


def _slope(looks: Sequence[Look], name: str) -> float:
    """The growth per hour over the second half."""
    half = looks[len(looks) // 2 :]
    if len(half) < 3:
        return float("nan")
    seconds, values = ([getattr(look, n) for look in half] for n in ("seconds", name))
    return float(np.polyfit(seconds, values, 1)[0] * 3600)


def _describe(title: str, found: dict[str, Any], looks: Sequence[Look]) -> None:
    reached = found["saves"][-1][0]
    print(f"{title}: {reached:,} steps in {found['seconds']:.0f} s")
    for name in ("megabytes", "files", "threads"):
        values = [getattr(look, name) for look in looks]
        middle, end = values[len(values) // 2], values[-1]
        print(f"  {name}: {middle:.0f} in the middle, {end:.0f} at the end,", end=" ")
        print(f"slope {_slope(looks, name):+.1f} an hour")
    saves = [seconds for _, seconds in found["saves"]]
    if len(saves) >= 4:
        parts = [
            statistics.median(part) for part in (saves[: len(saves) // 2], saves[len(saves) // 2 :])
        ]
        print(
            f"  a save: {1000 * parts[0]:.0f} ms in the first half, {1000 * parts[1]:.0f} ms later"
        )


def soak_steps(folder: Path, steps: int) -> None:
    """Trains a small net for many steps."""
    periods = (
        f"--steps {steps} --eval-every {steps // 10} --checkpoint-every {max(steps // 100, 1)}"
    )
    found, looks = _run([*_NET.split(), *periods.split(), "--workdir", str(folder / "steps")])
    _describe("the small net", found, looks)


def soak_streamed(folder: Path, seconds: float, data: Sequence[str]) -> None:
    """Trains on streamed data for some time."""
    flags = "--loading streamed --steps 100000000 --eval-every 1000000 --checkpoint-every 2000"
    words = [*_NET.split(), *flags.split(), *data, "--workdir", str(folder / "streamed")]
    found, looks = _run(words, seconds)
    _describe(f"streamed data for {seconds:g} s", found, looks)


def report_of(folder: Path, lines: int) -> None:
    """Draws the report of a run of so many lines of metrics."""
    from jaxmodels.report.page import run_page
    from jaxmodels.report.run import read_run

    run = folder / "steps"
    if not (run / "config.json").exists():
        _run([*_NET.split(), "--steps", "100", "--workdir", str(run)])
    line = {"split": "train", "loss": 0.123456789, "accuracy": 0.98765432}
    speed = {"steps_per_second": 2000.5, "examples_per_second": 64000.25, "waiting": 0.01}
    for name, values in (("metrics.jsonl", line), ("speed.jsonl", speed)):
        rows = ({"step": 50 * at, **values, "seconds": at / 40} for at in range(1, lines + 1))
        (run / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    began = time.perf_counter()
    page = run_page(read_run(run))
    seconds = time.perf_counter() - began
    print(f"report of {lines:,} lines: {seconds:.2f} s, {len(page) / 2**20:.1f} MiB")


def saving(folder: Path, steps: int, turns: int, data: Sequence[str]) -> None:
    """Trains a CNN with a checkpoint every 100 steps and without any, in turns."""
    seconds: dict[str, list[float]] = {"saving": [], "without": []}
    for turn in range(turns):
        for kind in sorted(seconds, reverse=turn % 2 == 1):
            every = 100 if kind == "saving" else 10 * steps
            flags = f"--model cnn --steps {steps} --eval-every {10 * steps} --log-every 100"
            flags += f" --checkpoint-every {every}"
            place = ["--workdir", str(folder / f"{kind}{turn}")]
            found, _ = _run([*flags.split(), *data, *place])
            seconds[kind].append(found["seconds"])
            print(f"  {kind}: {found['seconds']:.1f} s", flush=True)
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    cost = medians["saving"] / medians["without"] - 1
    print(f"a checkpoint every 100 steps of a CNN costs {100 * cost:.1f}% of {steps} steps")


def resume(folder: Path) -> None:
    """Starts again on a run that was stopped, with a warm cache of programs."""
    words = [*_NET.split(), "--steps", "200000", "--workdir", str(folder / "resume")]
    _run(words, 15)
    found, _ = _run(words, 12)
    print(f"resumed: {found['first_step']:.1f} s from the start of the program to its first step")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the parts that are asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.soak", description=__doc__
    )
    parser.add_argument("--parts", nargs="*", choices=_PARTS, default=[*_PARTS])
    parser.add_argument("--steps", type=int, default=20_000, help="of the small net")
    parser.add_argument("--seconds", type=float, default=60, help="of streamed data")
    parser.add_argument("--lines", type=int, default=20_000, help="of metrics in the report")
    parser.add_argument("--cnn-steps", type=int, default=400)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--data-dir", help="folder of tfds with MNIST; without it: digits")
    given = parser.parse_args(arguments)
    data = ["--data", "mnist", "--data-dir", given.data_dir] if given.data_dir else []
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        for part in given.parts:
            if part == "steps":
                soak_steps(folder, given.steps)
            elif part == "streamed":
                soak_streamed(folder, given.seconds, data)
            elif part == "report":
                report_of(folder, given.lines)
            elif part == "saving":
                saving(folder, given.cnn_steps, given.turns, data)
            else:
                resume(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _worker(sys.argv[2:])
    else:
        main()
