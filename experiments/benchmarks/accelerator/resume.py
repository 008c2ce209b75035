"""Checks exact resume on the device: compares a run that was killed with an undisturbed one.

python -m experiments.benchmarks.accelerator.resume RUN RUN    # compares their checkpoints
"""

import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.accelerator.results import Results
from experiments.benchmarks.accelerator.setting import COMPILED, Command, Ended, OutOfTime, Setting
from experiments.benchmarks.alternate import time_in_turns
from jaxmodels.files import read_lines

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
_EVERY = "--log-every 50 --eval-every 4000 --checkpoint-every 1000"
FLAGS = {
    # Has batch statistics, an average of parameters, augmentation and strided convolutions.
    "classifier": f"--model resnet --variant tiny --steps 8000 {_EVERY} --flip --crop 1 --ema 0.99",
    # Has transposed convolutions, noise and a learned distribution of pixels.
    "vae": f"--steps 8000 {_EVERY} --scored 0 --samples 2",
}
_RARELY = "--log-every 10 --eval-every 400 --checkpoint-every 100"
TINY = {
    "classifier": f"--model mlp --hidden 32 --steps 1600 {_RARELY} --batch-size 32 --flip --crop 1",
}


def run(setting: Setting, results: Results) -> None:
    """Adds a row per experiment, with and without deterministic operations, and rows of their cost.

    Raises:
      RuntimeError: a run failed, or runs differ that must be equal: all on a CPU, on a GPU those
        with deterministic operations.
    """
    folder = setting.runs / "resume"
    shutil.rmtree(folder, ignore_errors=True)
    flags, ways = (TINY, [False]) if setting.miniature else (FLAGS, [False, True])
    cases = [(name, deterministic) for deterministic in ways for name in flags]
    with ThreadPoolExecutor() as threads:
        rows = [
            threads.submit(_case, name, flags[name].split(), way, setting, folder)
            for name, way in cases
        ]
        problems = []
        for (name, way), row in zip(cases, rows):
            try:
                found = row.result()
            except (RuntimeError, OutOfTime) as error:
                found = {"error": str(error)}
            results.add(experiment=name, deterministic_operations=way, **found)
            promised = way or setting.miniature
            if "error" in found or (promised and found["checkpoints"] != "equal"):
                problems.append(f"{name}{', deterministic' * way}")
    if not setting.miniature:
        _add_cost(setting, results)
    if problems:
        raise RuntimeError(f"not resumed exactly: {', '.join(problems)}")


def _case(
    name: str, flags: list[str], deterministic: bool, setting: Setting, folder: Path
) -> dict[str, Any]:
    """Compares a whole run with one that was killed and resumed, and with one that was resumed
    without compiled programs."""
    case = folder / f"{name}{'-deterministic' * deterministic}"
    flags_of_xla = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC * deterministic}".strip()
    variables = {"XLA_FLAGS": flags_of_xla}

    def start(run: str, log: str, **more: str) -> Command:
        arguments = [*flags, "--workdir", str(case / run)]
        path = case / "logs" / log
        return Command(setting, f"experiments.{name}", arguments, path, variables | more)

    # The whole run goes first, because the others use its compiled programs.
    whole = _finished(start("whole", "whole").wait())
    killed = _kill_midway(start("resumed", "killed"), case / "resumed", setting)
    shutil.copytree(case / "resumed", case / "anew")
    empty = str((case / "compiled").absolute())
    anew = start("anew", "anew", **{COMPILED: empty})
    resumed = _finished(start("resumed", "resumed").wait())
    _finished(anew.wait())
    beside = {run: _compared(case / "whole", case / run, setting) for run in ("resumed", "anew")}
    return {
        "killed_after_step": killed,
        "metrics": "equal" if beside["resumed"]["metrics"] else "differ",
        "checkpoints": _said(beside["resumed"]),
        "compiled_anew": _said(beside["anew"]),
        "detail": {"whole": whole.last_line, "resumed": resumed.last_line, **beside},
    }


def _finished(ended: Ended) -> Ended:
    if ended.code:
        raise RuntimeError(f"a run ended with {ended.code}: {ended.errors}")
    return ended


def _kill_midway(command: Command, run: Path, setting: Setting) -> int:
    """Kills a run after it went on from a checkpoint; returns its last step in metrics.jsonl."""
    metrics, checkpoints = run / "metrics.jsonl", run / "checkpoints"
    size = None
    while True:
        if command.process.poll() is not None:
            raise RuntimeError(f"the run to kill had ended: {command.wait().errors}")
        if setting.left() < 0:
            command.kill()
            raise OutOfTime("no checkpoint in the time there was")
        if size is None and any(path.name.isdigit() for path in checkpoints.glob("*")):
            size = metrics.stat().st_size
        if size is not None and metrics.stat().st_size > size:
            command.kill()
            return read_lines(metrics)[-1]["step"]
        time.sleep(0.002)


def _said(comparison: dict[str, Any]) -> str:
    """Describes a comparison of checkpoints in words."""
    if not comparison["different"]:
        return "equal"
    of, most = len(comparison["different"]), comparison["most"]
    return f"{of} of {comparison['leaves']} arrays differ, by at most {most:.1e}"


# Comparison.


def _compared(whole: Path, other: Path, setting: Setting) -> dict[str, Any]:
    """Compares the last checkpoints of two runs in a process that does not use the device."""
    log = other.parent / "logs" / f"compare-{other.name}"
    arguments, variables = [str(whole), str(other)], {"JAX_PLATFORMS": "cpu"}
    ended = Command(setting, __name__, arguments, log, variables).wait()
    return json.loads(_finished(ended).last_line)


def compare(whole: Path, other: Path) -> dict[str, Any]:
    """Finds which arrays of the last checkpoints of two runs differ and by how much, and whether
    metrics.jsonl is the same to the byte."""
    arrays, others = _last_arrays(whole), _last_arrays(other)
    if arrays.keys() != others.keys():
        raise RuntimeError(f"other arrays: {arrays.keys() ^ others.keys()}")
    different = [name for name, a in arrays.items() if a.tobytes() != others[name].tobytes()]
    most = [np.abs(arrays[n].astype(np.float64) - others[n]).max() for n in different]
    first, second = ((run / "metrics.jsonl").read_bytes() for run in (whole, other))
    return {
        "leaves": len(arrays),
        "different": different,
        "most": float(max(most, default=0.0)),
        "metrics": first == second,
    }


def _last_arrays(run: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of the last checkpoint, whichever device saved them."""
    import jax
    import orbax.checkpoint as ocp

    last = max(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    path = (run / "checkpoints" / str(last) / "default").absolute()
    reader = ocp.PyTreeCheckpointer()
    like = reader.metadata(path).item_metadata.tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
    tree = reader.restore(path, restore_args=as_numpy)
    return {
        jax.tree_util.keystr(names): np.asarray(leaf)
        for names, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


# Cost.


def deterministic(name: str) -> Callable[[int], None]:
    """Runs the peer that `name` gives as module:peer:task with deterministic operations."""
    module, peer, task = name.split(":")
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    return getattr(importlib.import_module(module), peer)(task)


def as_it_is(name: str) -> Callable[[int], None]:
    """Runs the peer that `name` gives as module:peer:task."""
    module, peer, task = name.split(":")
    return getattr(importlib.import_module(module), peer)(task)


def _add_cost(setting: Setting, results: Results) -> None:
    """Adds rows with the cost of deterministic operations in a step of ResNet-18."""
    usual, exact = time_in_turns(
        __name__,
        ["as_it_is", "deterministic"],
        "experiments.benchmarks.resnet_peers:ours:18",
        setting.turns,
        setting.seconds,
        together=True,
        environment=setting.environment(),
        deadline=setting.deadline,
    )
    for timing, way in ((usual, False), (exact, True)):
        known = usual.seconds and timing.seconds
        results.add(
            step="ResNet-18 28x28, batch 128",
            deterministic_operations=way,
            steps_per_second=1 / timing.median if timing.seconds else None,
            times_as_long=timing.median / usual.median if known else None,
            note=timing.unavailable,
            detail={"log": timing.detail, "seconds": timing.seconds},
        )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare(*map(Path, sys.argv[1:]))) + "\n")
