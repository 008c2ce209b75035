"""Several real processes train one run through the command line, as launchers start them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.train import hosts
from tests.marks import campaign

_MAIN = """
import sys
from jaxmodels.train import main
from tests.train.toy_script import ToyConfig, build
sys.exit(main(ToyConfig, build))
"""


def _start(folder, *flags, devices=2, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", _MAIN, "--workdir", str(folder), *flags],
        env={
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def _together(folder, *flags, count=2, mesh="data=4"):
    """Starts processes that find each other by flags and have four devices together."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [
        _start(
            folder,
            *flags,
            "--mesh",
            mesh,
            *f"--coordinator localhost:{port} --processes {count} --process-id {index}".split(),
            devices=4 // count,
        )
        for index in range(count)
    ]


def _ended(processes, code):
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), outputs
    return outputs


def _lines(folder, split):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if line["split"] == split}


def _wait_for(folder, step):
    """Waits until the run has written a line of a step."""
    for _ in range(2400):
        path = folder / "speed.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= step:
            return
        time.sleep(0.1)
    raise AssertionError("the run does not train")


@pytest.mark.hosts
@pytest.mark.parametrize(
    ("count", "mesh"),
    # With the axis model across processes, several read the same part of a batch.
    [(2, "data=2,fsdp=2"), campaign(2, "model=4"), campaign(4, "data=2,model=2")],
)
def test_several_processes_train_as_one_and_one_goes_on(tmp_path, count, mesh):
    two, one = tmp_path / "two", tmp_path / "one"
    mirror = ["--mirror", f"file://{tmp_path}/bucket"]
    (first, _), *others = _ended(_together(two, *mirror, count=count, mesh=mesh), 0)
    # Gloo prints lines of its own in each.
    assert "test/loss" in first and not any("loss" in other for other, _ in others)
    status = json.loads((two / "status.json").read_text())
    assert (status["status"], status["step"], status["processes"]) == ("finished", 24, count)
    _ended([_start(one, "--mesh", "data=4", "--steps", "32", devices=4)], 0)
    for split in ("train", "test"):
        found, expected = _lines(two, split), _lines(one, split)
        assert list(found) == [step for step in expected if step <= 24]
        wanted = [expected[step] for step in found]
        np.testing.assert_allclose(list(found.values()), wanted, rtol=1e-4)
    # Another number of processes, another mesh and, after a bucket, another disk: the same run.
    two = tmp_path / "elsewhere"
    _ended([_start(two, *mirror, "--mesh", "data=2", "--steps", "32")], 0)
    assert _lines(two, "test")[32] == pytest.approx(_lines(one, "test")[32], rel=1e-4)


@pytest.mark.hosts
def test_a_request_to_any_process_stops_all_at_one_step_and_they_go_on(tmp_path):
    flags = ["--steps", "100000", "--steps-per-dispatch", "4", "--checkpoint-every", "100000"]
    flags += ["--eval-every", "100000"]
    processes = _together(tmp_path, *flags)
    _wait_for(tmp_path, 3)
    processes[1].send_signal(signal.SIGTERM)
    (out, _), _ = _ended(processes, 75)
    stopped = int(re.search(r"stopped at step (\d+) of", out)[1])
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["step"]) == ("stopped", stopped)
    assert (tmp_path / "checkpoints" / str(stopped)).is_dir()
    flags[1] = str(stopped + 4)
    _ended(_together(tmp_path, *flags), 0)
    assert max(_lines(tmp_path, "train")) == stopped + 4


def _kept(folder):
    """Returns the steps of the checkpoints that are complete."""
    return [int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdigit()]


@pytest.mark.hosts
@pytest.mark.parametrize("killed", [campaign(0), 1])
def test_the_death_of_one_process_ends_the_others_with_a_line_and_they_go_on(tmp_path, killed):
    folder = tmp_path / "run"
    flags = ["--steps", "1000000", "--steps-per-dispatch", "4", "--checkpoint-every", "8"]
    flags += ["--eval-every", "1000000"]
    processes = _together(folder, *flags)
    _wait_for(folder, 4)
    while not _kept(folder):
        time.sleep(0.1)
    processes[killed].kill()
    processes[killed].communicate()
    begin = time.monotonic()
    _, error = processes[1 - killed].communicate(timeout=240)
    assert processes[1 - killed].returncode not in (0, 75)
    assert time.monotonic() - begin < 3 * hosts._ALIVE
    assert re.search("another process is gone|JAX distributed service detected fatal", error), error
    flags[1] = str(max(_kept(folder)) + 8)
    _ended(_together(folder, *flags), 0)
    _ended(_together(tmp_path / "whole", *flags), 0)
    lines = [(path / "metrics.jsonl").read_bytes() for path in (folder, tmp_path / "whole")]
    assert lines[0] == lines[1]


def test_other_processes_than_asked_for_are_refused():
    """Two trainings side by side that know nothing of each other are the classic accident."""
    with pytest.raises(InputError, match=r"processes = 2; expected as many as there are, .* are 1"):
        hosts.connect(processes=2)
    with pytest.raises(InputError, match="process_id = 1; expected --coordinator"):
        hosts.connect(processes=2, process_id=1)
    with pytest.raises(InputError, match="process_id = None; expected --processes N"):
        hosts.connect("localhost:1234", 2)
    with pytest.raises(InputError, match="coordinator = localhost; expected HOST:PORT"):
        hosts.connect("localhost", 2, 1)
    hosts.connect(processes=1)
    hosts.connect()


@pytest.mark.parametrize(
    ("variables", "asks"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "SLURM_NTASKS": "1"}, True),
        ({}, True),
    ],
)
def test_a_pod_that_is_told_all_asks_the_cluster_nothing(variables, asks, monkeypatch):
    for name in ("KUBERNETES_SERVICE_HOST", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    given = {}
    monkeypatch.setattr("jax.distributed.initialize", lambda **how: given.update(how))
    hosts.connect("localhost:1234", 1, 0)
    assert (given["num_processes"], given["process_id"]) == (1, 0)
    assert (given.get("cluster_detection_method") != "deactivate") is asks


@pytest.mark.parametrize(
    ("variables", "launched"),
    [
        ({}, False),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2"}, False),  # in sbatch, outside of srun
        (
            {
                "SLURM_JOB_ID": "1",
                "SLURM_STEP_NODELIST": "a,b",
                "SLURM_PROCID": "1",
                "SLURM_NTASKS": "2",
            },
            True,
        ),
        (
            {
                "SLURM_JOB_ID": "1",
                "SLURM_STEP_NODELIST": "a",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "1",
            },
            False,
        ),
        ({"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1", "OMPI_COMM_WORLD_RANK": "1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "0"}, True),
    ],
)
def test_launchers_are_known_by_their_variables(variables, launched):
    assert hosts._is_launched(variables) is launched
