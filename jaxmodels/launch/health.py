"""Whether a run still moves, for those who would start it again if it did not."""

import time
from pathlib import Path

from jaxmodels.errors import InputError
from jaxmodels.files import read_json

_MOVING = ("status.json", "speed.jsonl", "metrics.jsonl")


def health(run: Path, within: float, now: float | None = None) -> tuple[bool, str]:
    """Returns whether a run is well, and a line that says why.

    It is well where it ended by itself or on request, or has written something within so many
    seconds.

    Raises:
      InputError: there is no run.
    """
    status = read_json(run / "status.json")
    if not isinstance(status, dict) or "status" not in status:
        raise InputError(f"{run} has no status.json; expected a run folder")
    changed = max(path.stat().st_mtime for name in _MOVING if (path := run / name).exists())
    silent = (time.time() if now is None else now) - changed
    line = f"{status['status']} at step {status.get('step')}, silent for {silent:.0f} s"
    if status["status"] == "running":
        return silent <= within, line
    return status["status"] != "failed", line
