"""Child processes that fail while somebody waits for what they make."""

import contextlib
import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess

from jaxmodels.errors import RunError

_PERIOD = 0.5  # seconds between looks


class Children:
    """The processes that this one has started, looked at from time to time."""

    def __init__(self):
        self._known: set[BaseProcess] = set()
        self._next_look = 0.0
        self.failed = False

    def require_alive(self) -> None:
        """Looks for a process that ended with an error, since its reader might wait for ever.

        Raises:
          RunError: there is one.
        """
        if time.perf_counter() < self._next_look:
            return
        self._next_look = time.perf_counter() + _PERIOD
        # `active_children` forgets processes that ended before it saw them; the system still knows
        # them here.
        if hasattr(os, "waitid"):
            with contextlib.suppress(ChildProcessError):
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended and ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                    self._fail(ended.si_pid, -ended.si_status)
        self._known |= set(multiprocessing.active_children())
        for child in self._known:
            if child.exitcode:
                self._fail(child.pid, child.exitcode)

    def _fail(self, number: int | None, code: int) -> None:
        self.failed = True
        raise RunError(
            f"worker process {number} ended with exit code {code} (negative: of a signal; -9 is"
            " also the kernel's, when memory ends); what was saved is kept, and the same command"
            " goes on"
        )
