"""Slurm with several nodes on one machine: a controller, and a daemon for each node."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "unshare")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_PATIENCE = 300  # seconds, on a machine that does other things as well
# Only daemons know the network names of the nodes.
_NODE = 'hostname {name} && mount --bind "{hosts}" /etc/hosts && exec slurmd -D -f "{conf}"'
_CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=2
KillWait=120
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def is_here() -> bool:
    """Whether Slurm is installed, and this process may start it."""
    return os.geteuid() == 0 and all(shutil.which(name, path=_PATH) for name in _PROGRAMS)


class Cluster:
    """A cluster in a folder, until it is closed."""

    def __init__(self, folder: Path, nodes: int):
        self._folder, self._started = folder, []
        self._variables = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        names = [f"node{index + 1}" for index in range(nodes)]
        controller, *ports = _free_ports(1 + nodes)
        lines = [
            f"NodeName={name} NodeAddr=127.0.0.1 Port={port} CPUs=2 State=UNKNOWN"
            for name, port in zip(names, ports, strict=True)
        ]
        conf = _CONF.format(folder=folder, controller=controller, nodes="\n".join(lines))
        (folder / "slurm.conf").write_text(conf)
        known = " ".join(["localhost", socket.gethostname(), *names])
        (folder / "hosts").write_text(f"127.0.0.1 {known}\n")
        for name in ("state", *(f"spool-{name}" for name in names)):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        try:
            self._start_daemons(names)
        except BaseException:
            self.close()
            raise

    def _start_daemons(self, names: list[str]) -> None:
        folder = self._folder
        ends = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
        ends["seed-file"] = "seed"
        files = [f"--{option}={folder}/munge.{end}" for option, end in ends.items()]
        self._start("munged", "--force", "--foreground", "--num-threads=10", *files)
        self._wait((folder / "munge.socket").exists, "munge")
        self._start("slurmctld", "-D", "-f", folder / "slurm.conf")
        for name in names:
            words = _NODE.format(name=name, hosts=folder / "hosts", conf=folder / "slurm.conf")
            self._start("unshare", "--mount", "--uts", "bash", "-c", words)
        idle = "sinfo", "-h", "-t", "idle", "-o", "%D"
        self._wait(lambda: self.run(*idle) == str(len(names)), "idle nodes")

    def _start(self, *words: object) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._started.append(subprocess.Popen([*map(str, words)], env=self._variables, **quiet))

    def run(self, *words: object) -> str:
        """Runs a command of Slurm's; returns what it printed."""
        how = {"env": self._variables, "capture_output": True, "text": True}
        return subprocess.run([*map(str, words)], **how).stdout.strip()

    def wait_for(self, job: str, state: str) -> None:
        """Waits until a job is in a state."""
        self._wait(lambda: self._field(job, "JobState") == state, f"{state} of job {job}")

    def wait_for_restart(self, job: str) -> None:
        """Waits until a job was queued again. It then starts after two minutes, when credentials of
        its first start have expired."""
        self._wait(lambda: self._field(job, "Restarts") not in ("", "0"), f"{job} queued again")

    def _field(self, job: str, name: str) -> str:
        found = re.search(rf"\b{name}=(\S+)", self.run("scontrol", "show", "job", job))
        return found[1] if found else ""

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _PATIENCE
        while not is_so():
            if time.monotonic() > until:
                logs = [path.read_text()[-2000:] for path in sorted(self._folder.glob("*.log"))]
                raise AssertionError("\n".join([f"{what} did not come", *logs]))
            time.sleep(0.2)

    def close(self) -> None:
        """Ends all jobs, then what was started."""
        self.run("scancel", "--full", "--signal=KILL", "--user=root")
        try:
            self._wait(lambda: not self.run("squeue", "-h"), "the end of all jobs")
        finally:
            for process in reversed(self._started):
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _free_ports(count: int) -> list[int]:
    """Finds ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
