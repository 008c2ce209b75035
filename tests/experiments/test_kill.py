"""Killed with SIGKILL inside chunks and inside saves, then rerun: the same bytes."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

FLAGS = [
    "--model",
    "mlp",
    "--hidden",
    "64",
    "--steps",
    "6000",
    "--batch-size",
    "64",
    "--log-every",
    "15",
    "--eval-every",
    "500",
    "--checkpoint-every",
    "40",
    "--ema",
    "0.99",
    "--batch-norm",
]


def _start(workdir: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.classifier", "--workdir", str(workdir), *FLAGS],
        env={**os.environ, "XLA_FLAGS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(workdir: Path) -> str:
    out, error = (process := _start(workdir)).communicate(timeout=300)
    assert process.returncode == 0, error
    return out.splitlines()[-1]


def _wait_for(process: subprocess.Popen, condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"ended by itself: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _final_tree(workdir: Path) -> list[np.ndarray]:
    import orbax.checkpoint as ocp

    tree = ocp.StandardCheckpointer().restore((workdir / "checkpoints/6000/default").absolute())
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_killed_and_rerun_gives_the_same_bytes(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    summary = _finish(whole)
    metrics = parts / "metrics.jsonl"
    chance = random.Random(0)
    reached = []
    for attempt in range(4):
        process = _start(parts)
        before = metrics.stat().st_size if metrics.exists() else 0
        # Trains again: the lines after the checkpoint were dropped and are being written anew.
        _wait_for(
            process, lambda before=before: metrics.exists() and metrics.stat().st_size > before
        )
        if attempt % 2:
            _wait_for(process, lambda: any((parts / "checkpoints").glob("*tmp*")))
        else:
            time.sleep(chance.uniform(0, 0.4))
        process.kill()
        process.communicate()
        reached.append(len(metrics.read_bytes()))
    assert reached == sorted(reached)
    assert reached[-1] < whole.joinpath("metrics.jsonl").stat().st_size, "killed after the end"
    assert _finish(parts).split(" workdir=")[0] == summary.split(" workdir=")[0]
    assert metrics.read_bytes() == whole.joinpath("metrics.jsonl").read_bytes()
    trees = _final_tree(whole), _final_tree(parts)
    assert len(trees[0]) > 20
    for a, b in zip(*trees, strict=True):
        assert a.tobytes() == b.tobytes()
