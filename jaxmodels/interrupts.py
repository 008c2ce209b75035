"""Ctrl-C and SIGTERM at any moment: before the start, while something long runs, and twice.

Python runs handlers of signals between its own instructions, and an exception that a handler
raises may be lost in a callback. So a thread that the system wakes counts them and ends
the program when they are too many. That is safe at any moment: what a run has on its disk is
whole, since it may be killed just as well.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker

RESUMABLE = 75  # the exit code of a program that stopped on request
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 1.0  # seconds in which a program may end by itself


class _Watch:
    """The watching thread's state: whether somebody else handles a first interrupt."""

    def __init__(self):
        self.is_met = False

    def run(self, reader: int) -> None:
        interrupts = 0
        while received := os.read(reader, 1):
            if received[0] not in _SIGNALS:
                continue
            if not self.is_met:
                _leave("stopped before the first step; what was saved before is kept")
            interrupts += received[0] == signal.SIGINT
            if interrupts > 1:
                time.sleep(_PATIENCE)
                _leave("interrupted twice; the last checkpoint is kept")
        os.close(reader)


_watch = _Watch()


def leave_at_interrupt() -> None:
    """Makes Ctrl-C end the program with a line, while it still imports its modules."""
    for kind in _SIGNALS:
        signal.signal(kind, lambda *_: _leave("stopped before the start"))


@contextlib.contextmanager
def leaving_at_interrupt() -> Iterator[None]:
    """Ends the program at the first Ctrl-C or SIGTERM; inside of `meeting_interrupt` at the second
    Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {kind: signal.signal(kind, lambda *_: None) for kind in _SIGNALS}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch.run, args=(reader,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for kind, handler in previous.items():
            signal.signal(kind, handler)
        os.close(writer)


@contextlib.contextmanager
def meeting_interrupt() -> Iterator[None]:
    """Leaves the first Ctrl-C to a handler of the caller."""
    before, _watch.is_met = _watch.is_met, True
    try:
        yield
    finally:
        _watch.is_met = before


def keep_from_children() -> None:
    """Blocks Ctrl-C in this thread and so in the processes that it starts: a terminal sends it to
    them too, but it is the parent that decides when they end."""
    if hasattr(signal, "pthread_sigmask"):
        # Starting this process, which every other child needs, would take the block away again.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _leave(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
    os._exit(RESUMABLE)
