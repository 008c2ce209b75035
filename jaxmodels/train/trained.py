"""The weights of a run, read without its data."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxmodels.errors import InputError
from jaxmodels.protocol import State
from jaxmodels.train.checkpoint import Checkpoints
from jaxmodels.train.run_folder import RunFolder


class Trained(NamedTuple):
    """A checkpoint of a run.

    record: config.json. fingerprint: of the arrays of the state. read: reads the state.
    """

    record: dict[str, Any]
    step: int
    fingerprint: str
    read: Callable[[], State]


def open_trained(path: Path, checkpoint: str, flag: str) -> Trained:
    """Opens a checkpoint of the run in a folder; no array is read before `read` is called.

    flag: which one names the folder.

    Raises:
      InputError: the folder holds no run, or no checkpoint.
    """
    folder = RunFolder(path)
    record = folder.record(flag.replace("_", "-"))
    checkpoints = Checkpoints(folder.checkpoints)
    step = checkpoints.last() if checkpoint == "last" else checkpoints.best()
    if record is None or step is None:
        raise InputError(f"{flag} = {path}; the run has no checkpoint: train it first")
    digests = checkpoints.digests(step)
    listed = "\n".join(
        f"{n} {digest}" for n, digest in sorted(digests.items()) if "window" not in n
    )
    fingerprint = hashlib.sha256(listed.encode()).hexdigest()[:16]
    return Trained(record, step, fingerprint, lambda: checkpoints.read(step)["state"])
