"""Where the time of a run went, process by process: goodput.json in its folder.

The parts are those of Google's ml-goodput-measurement, which keeps them in a cloud's log: starting
(imports, data), compiling, restoring, training, waiting for data, evaluating, saving, and
repeating: training again the steps that an earlier process had taken and not saved.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

_BEGAN = time.time()  # about when the process did: this module is imported at its start


class Ledger:
    """The seconds of one process, by what they were spent on.

    lost: steps that an earlier process had taken and that are taken again.
    """

    def __init__(self) -> None:
        self._began = _BEGAN
        self._spent: dict[str, float] = defaultdict(float)
        self._spent["starting"] = time.time() - _BEGAN
        self._inside: list[str] = []
        self.lost = 0
        # Gives the seconds so far in which the device waited for data.
        self.waited: Callable[[], float] = lambda: 0.0

    @contextlib.contextmanager
    def spent(self, name: str) -> Iterator[None]:
        """Counts the time inside the block, without that of such blocks within it."""
        began = time.time()
        others = sum(self._spent.values())
        try:
            yield
        finally:
            within = sum(self._spent.values()) - others
            self._spent[name] += time.time() - began - within

    def session(self, first: int, step: int) -> dict[str, Any]:
        """Describes the time since the process began, in which the run went from step `first` to
        `step`. The time that no block counts is that of training."""
        total = time.time() - self._began
        parts = dict(self._spent)
        training = max(total - sum(parts.values()), 0.0)
        parts["waiting"] = min(self.waited(), training)
        parts["training"] = training - parts["waiting"]
        share = min(self.lost, step - first) / (step - first) if step > first else 0.0
        parts["repeating"] = parts["training"] * share
        parts["training"] -= parts["repeating"]
        rounded = {name: round(seconds, 3) for name, seconds in parts.items()}
        return {"began": self._began, "first": first, "step": step, "seconds": rounded}


def lost_steps(speed: list[dict[str, Any]], restored: int) -> int:
    """Counts the steps beyond a checkpoint that the last process had reached, by speed.jsonl."""
    reached = speed[-1].get("step") if speed else None
    return max(reached - restored, 0) if isinstance(reached, int) else 0
