"""An experiment as `python -m experiments.NAME` runs it, that signals itself at one moment.

python -m tests.faults.victim MOMENT SIGNAL,... experiments.NAME FLAGS
"""

import importlib
import os
import runpy
import signal
import sys
from collections.abc import Callable

# Where each moment is: a module, a function or method of it, and at which call.
MOMENTS = {
    "load": ("jaxmodels.data.images", "load", 1),
    "compile": ("jaxmodels.train.program", "TrainProgram.compile", 1),
    "train": ("jaxmodels.train.program", "TrainProgram.run", 2),
    "evaluate": ("jaxmodels.train.evaluation", "SplitProgram.sum", 1),
    "save": ("jaxmodels.train.checkpoint", "Checkpoints.save", 2),
    "draw": ("jaxmodels.train.tensorboard", "write_events", 1),
    "end": ("jaxmodels.train.checkpoint", "Checkpoints.close", 1),
}
IMPORT = "import"


class _AtImport:
    """A finder of modules that finds none, and sends the signals when it is asked for one."""

    def __init__(self, name: str, send: Callable[[], None]):
        self._name, self._send = name, send

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._name:
            self._send()


def main(moment: str, names: str, module: str, *flags: str) -> None:
    """Runs the module with these flags."""

    def send() -> None:
        for name in names.split(","):
            os.kill(os.getpid(), getattr(signal, name))

    sys.argv = ["-m", *flags]  # what Python says while it imports the packages of a module
    if moment == IMPORT:
        sys.meta_path.insert(0, _AtImport("optax", send))
    else:
        _send_in_call(*MOMENTS[moment], send)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _send_in_call(module: str, path: str, number: int, send: Callable[[], None]) -> None:
    *owners, name = path.split(".")
    owner, calls = importlib.import_module(module), []
    for each in owners:
        owner = getattr(owner, each)
    original = getattr(owner, name)

    def call(*arguments, **named):
        calls.append(None)
        if len(calls) == number:
            send()
        return original(*arguments, **named)

    setattr(owner, name, call)


if __name__ == "__main__":
    main(*sys.argv[1:])
