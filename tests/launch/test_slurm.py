"""Slurm itself runs the script on two nodes: one training, which goes on when queued again."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jaxmodels.launch.job import Job
from jaxmodels.launch.slurm import sbatch_script
from tests.launch.slurm_cluster import Cluster
from tests.train.test_processes import _wait_for

pytestmark = [pytest.mark.slow, pytest.mark.hosts, pytest.mark.campaign]
ROOT = Path(__file__).parents[2]
STEPS = 160
FLAGS = f"""--steps {STEPS} --eval-every {STEPS} --checkpoint-every {STEPS} --log-every 4
    --steps-per-dispatch 4 --model mlp --hidden 8 --batch-size 16 --learning-rate 0.01"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("slurm"), 2)
    yield made
    made.close()


def _submit(cluster, folder, *flags):
    """Submits the script of the launcher as a user would; returns the number of the job and the run
    folder."""
    job = Job("classifier", (*FLAGS.split(), *flags), hosts=2, name="x", folder=str(folder))
    folder.mkdir()
    script = folder / "run.sh"
    script.write_text(sbatch_script(job).replace("python -m", f"{sys.executable} -m"))
    return cluster.run("sbatch", "--parsable", f"--chdir={ROOT}", script), folder / "x"


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _finished(cluster, job, folder):
    cluster.wait_for(job, "COMPLETED")
    status = json.loads((folder / "status.json").read_text())
    assert (status["status"], status["step"], status["processes"]) == ("finished", STEPS, 2)


@pytest.fixture(scope="module")
def whole(cluster, tmp_path_factory):
    """The run that nothing stops."""
    job, folder = _submit(cluster, tmp_path_factory.mktemp("whole") / "runs")
    _finished(cluster, job, folder)
    return folder


def test_two_nodes_train_as_one_process(whole, tmp_path):
    words = [sys.executable, "-m", "experiments.classifier", *FLAGS.split(), "--mesh", "data=2"]
    one = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run([*words, "--workdir", tmp_path / "one"], cwd=ROOT, env=one, check=True)
    found, expected = _lines(whole), _lines(tmp_path / "one")
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-3), ours["step"]


@pytest.mark.parametrize(
    "stop",
    [
        # As before the limit of time, then as a preemption that queues again.
        ("scancel", "--signal=TERM"),
        ("scontrol", "requeue"),
    ],
)
def test_a_job_that_is_queued_again_goes_on_with_the_same_bits(cluster, whole, tmp_path, stop):
    job, folder = _submit(cluster, tmp_path / "runs")
    _wait_for(folder, 3)
    cluster.run(*stop, job)
    cluster.wait_for_restart(job)
    _finished(cluster, job, folder)
    stopped = re.search(r"stopped at step (\d+) of", (tmp_path / f"runs/x-{job}.log").read_text())
    assert stopped and 0 < int(stopped[1]) < STEPS
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
