"""The setting of all parts, and the processes in which they run experiments."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.torch_device import TF32

COMPILED = "JAX_COMPILATION_CACHE_DIR"
SHOWN = 2000  # last characters of a process's output that messages show


class OutOfTime(Exception):
    """A part or a process was not done in the time it had."""


class Setting(NamedTuple):
    """The machine, and the time and options of a part.

    device: facts (see device.py). runs: folder for run folders and compiled programs.
    deadline: the time at which the part has to end, by `time.monotonic`.
    """

    device: Mapping[str, Any]
    runs: Path
    deadline: float
    data_dir: str | None = None
    tf32: bool = True
    turns: int = 5
    seconds: float = 0.5  # of a turn

    @property
    def miniature(self) -> bool:
        """Whether everything is tiny, because there is no accelerator."""
        return self.device.get("platform") == "cpu"

    def left(self) -> float:
        """Computes the seconds until the deadline."""
        return self.deadline - time.monotonic()

    def environment(self) -> dict[str, str]:
        """Makes the variables of every process, which override those of this one.

        Processes share the device, so none takes most of its memory at its start. Compiled programs
        are kept, because a resumed run needs the algorithms that XLA chose, by measurement, for the
        run that it continues. In miniature XLA hardly optimises, because programs run only briefly.
        """
        kept = os.environ.get(COMPILED) or str(self.runs.absolute() / "compiled")
        variables = {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(self.miniature)),
            COMPILED: kept,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            TF32: str(int(self.tf32)),
        }
        if not self.tf32:
            variables["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
        return variables


class Ended(NamedTuple):
    """A process that ended by itself or was ended."""

    code: int
    last_line: str  # of its standard output
    errors: str  # the end of its standard error
    seconds: float


class Command:
    """A Python module that runs in a process of its own, which writes to files.

    log: path of the files, without suffix.
    """

    def __init__(
        self,
        setting: Setting,
        module: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ):
        self._setting, self._began = setting, time.monotonic()
        self._out, self._errors = log.with_suffix(".out"), log.with_suffix(".err")
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(self._out, "wb") as out, open(self._errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env={**os.environ, **setting.environment(), **(environment or {})},
            )

    def wait(self, seconds: float | None = None) -> Ended:
        """Waits until it ends, until the deadline or for at most these seconds.

        Raises:
          OutOfTime: it had not ended by then, and was killed.
        """
        try:
            self.process.wait(max(self._setting.left() if seconds is None else seconds, 0.1))
        except subprocess.TimeoutExpired:
            self.kill()
            raise OutOfTime(f"it did not end in time; it wrote: {self._tail()}") from None
        return self._ended()

    def stop_after(self, seconds: float) -> Ended:
        """Lets it run for some seconds, sends SIGTERM as a scheduler does, and waits.

        Raises:
          OutOfTime: it had not ended by the deadline, and was killed.
        """
        try:
            self.process.wait(max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def _ended(self) -> Ended:
        lines = self._out.read_text("utf-8", "replace").strip().splitlines()
        last = lines[-1] if lines else ""
        seconds = time.monotonic() - self._began
        return Ended(self.process.returncode, last, self._tail(), seconds)

    def kill(self) -> None:
        """Kills it, as a failing machine does."""
        self.process.kill()
        self.process.wait()

    def _tail(self) -> str:
        return self._errors.read_text("utf-8", "replace")[-SHOWN:]
