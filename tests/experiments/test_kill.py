"""Killed with SIGKILL inside chunks and inside saves, then rerun: the same bytes.

The gate kills classifiers and a language model, among other faults, by tests/faults.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.tfds_folder import write_image_dataset

COMMON = ["--log-every", "15", "--eval-every", "500", "--checkpoint-every", "40"]
FLAGS = {
    # Two networks and optimizers, an average, batch statistics, power iterations, lazy penalties.
    "gan": "--steps 500 --width 8 --latent-size 8 --batch-size 16 --norm spectral --r1 1"
    " --lazy 7 --critic-steps 2 --samples 60",
    # Read from the disk, cut at random, by another number of processes at each try.
    "streamed classifier": "--steps 500 --data pictures --loading streamed --image-size 12"
    " --model mlp --hidden 64 --batch-size 64 --flip --crop 1 --mixup 0.2",
}


def _start(command: list[str], workdir: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [*command, "--workdir", str(workdir)],
        env={**os.environ, "XLA_FLAGS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(command: list[str], workdir: Path) -> str:
    out, error = (process := _start(command, workdir)).communicate(timeout=300)
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

    names = [path.name for path in (workdir / "checkpoints").iterdir()]
    last = max(int(name) for name in names if name.isdigit())
    path = workdir / "checkpoints" / str(last) / "default"
    tree = ocp.StandardCheckpointer().restore(path.absolute())
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _write_pictures(root: Path) -> None:
    generator = np.random.default_rng(0)
    images, labels = {}, {}
    for split, count in (("train", 500), ("test", 40)):
        labels[split] = generator.integers(0, 3, count).tolist()
        images[split] = [
            (generator.integers(0, 120, (16 + label, 20, 3)) + 60 * label).astype(np.uint8)
            for label in labels[split]
        ]
    write_image_dataset(root, "pictures", images, labels, shape=(-1, 20, 3))


@pytest.mark.campaign
@pytest.mark.faults
@pytest.mark.parametrize("case", ["gan", "streamed classifier"])
def test_killed_and_rerun_gives_the_same_bytes(case, judge, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = [sys.executable, "-m", f"experiments.{case.split()[-1]}", *COMMON]
    command += FLAGS[case].split()
    streamed = case.startswith("streamed")
    if streamed:
        _write_pictures(tmp_path)
        command += ["--data-dir", str(tmp_path)]
    if case == "gan":
        command += ["--judge", str(judge)]
    summary = _finish(command, whole)
    metrics = parts / "metrics.jsonl"
    chance = random.Random(0)
    reached = []
    for attempt in range(2):
        workers = ["--workers", str(attempt)] if streamed else []
        process = _start([*command, *workers], parts)
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
    assert _finish(command, parts).split(" workdir=")[0] == summary.split(" workdir=")[0]
    assert metrics.read_bytes() == whole.joinpath("metrics.jsonl").read_bytes()
    trees = _final_tree(whole), _final_tree(parts)
    assert len(trees[0]) > 20
    for a, b in zip(*trees, strict=True):
        assert a.tobytes() == b.tobytes()
