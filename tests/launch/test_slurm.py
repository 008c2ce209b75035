"""The batch script on a real Slurm: a controller and a node that are this machine."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from jaxmodels.launch.job import Job
from jaxmodels.launch.slurm import sbatch_script

_CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/linear
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def slurm():
    """Starts Slurm; gives the environment in which its commands find it."""
    if not shutil.which("slurmctld") or os.geteuid():
        pytest.skip("needs slurm-wlm and root")
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # its sockets need a short path
    for name in ("state", "spool"):
        (folder / name).mkdir()
    controller, node = _free_ports(2)
    conf = folder / "slurm.conf"
    conf.write_text(_CONF.format(folder=folder, controller=controller, node=node))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "SLURM_CONF": str(conf), "PATH": path}
    quiet = {"env": variables, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    daemons = [
        subprocess.Popen([*command, "-D"], **quiet)
        for command in (["slurmctld"], ["slurmd", "-N", "localhost"])
    ]
    yield variables
    for daemon in reversed(daemons):
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
    shutil.rmtree(folder)


def _until(found, seconds=240):
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return value


@pytest.mark.hosts
@pytest.mark.slow
def test_the_script_trains_on_slurm_and_is_queued_again_when_stopped(slurm, tmp_path):
    flags = "--model mlp --hidden 4 --steps 1000000 --log-every 10 --steps-per-dispatch 10"
    flags += " --eval-every 1000000 --checkpoint-every 1000000"
    job = Job("classifier", tuple(flags.split()), name="x", folder=str(tmp_path))
    # Two processes share the machine, as those of two accelerators would.
    script = sbatch_script(job).replace("--ntasks-per-node=1", "--ntasks-per-node=2 -O")
    variables = {**slurm, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}

    def asked(*words):
        done = subprocess.run(words, env=variables, input=script, capture_output=True, text=True)
        return done.stdout

    _until(lambda: "idle" in asked("sinfo"))
    run = tmp_path / "x"
    number = re.search(r"job (\d+)", asked("sbatch"))[1]
    _until(lambda: (run / "speed.jsonl").exists())
    status = json.loads((run / "status.json").read_text())
    assert (status["status"], status["processes"]) == ("running", 2)
    asked("scancel", "--signal=TERM", number)
    shown = _until(
        lambda: (text := asked("scontrol", "show", "job", number)) * ("Restarts=1" in text)
    )
    assert "Requeue=1" in shown
    assert json.loads((run / "status.json").read_text())["status"] == "stopped"
    log = (tmp_path / f"x-{number}.log").read_text()
    assert log.count("stopped at step") == 1
    asked("scancel", number)
    _until(lambda: number not in asked("squeue"))
