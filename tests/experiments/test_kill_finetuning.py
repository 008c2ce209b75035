"""A run that starts from weights, killed with SIGKILL, goes on without them."""

import shutil
import sys

import pytest

from tests.experiments.test_kill import _final_tree, _finish, _start, _wait_for

FLAGS = "--model mlp --hidden 64 --batch-size 64 --batch-norm --log-every 15 --eval-every 800"


@pytest.mark.campaign
@pytest.mark.faults
def test_a_run_from_weights_that_is_killed_goes_on_without_them(tmp_path):
    source, whole, parts = (tmp_path / name for name in ("source", "whole", "parts"))
    command = [sys.executable, "-m", "experiments.classifier", *FLAGS.split()]
    _finish([*command, "--steps", "30"], source)
    # The first layer keeps its BatchNorm; there are an average, and rates of each layer.
    command += [
        "--steps",
        "800",
        "--seed",
        "4",
        "--ema",
        "0.9",
        "--checkpoint-every",
        "40",
        "--layer-decay",
        "0.7",
    ]
    command += ["--adapter-rank", "3", "--adapter-on", "Dense", "--adapter-also", "Dense_1"]
    command += ["--init-from", str(source)]
    summary = _finish(command, whole)
    checkpoints, metrics = parts / "checkpoints", parts / "metrics.jsonl"

    process = _start(command, parts)
    _wait_for(process, lambda: (checkpoints / "0").is_dir())
    process.kill()
    process.communicate()
    shutil.rmtree(source)
    process = _start(command, parts)
    _wait_for(process, lambda: metrics.exists() and metrics.stat().st_size > 0)
    _wait_for(process, lambda: any(checkpoints.glob("*tmp*")))
    process.kill()
    process.communicate()
    assert metrics.stat().st_size < (whole / "metrics.jsonl").stat().st_size, "after the end"

    assert _finish(command, parts).split(" workdir=")[0] == summary.split(" workdir=")[0]
    assert metrics.read_bytes() == (whole / "metrics.jsonl").read_bytes()
    trees = _final_tree(whole), _final_tree(parts)
    assert len(trees[0]) > 20
    for a, b in zip(*trees, strict=True):
        assert a.tobytes() == b.tobytes()
