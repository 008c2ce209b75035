"""Ctrl-C before a program is ready for it, and Ctrl-C twice."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

_PATIENCE = 1.0  # seconds in which a program may end by itself
RESUMABLE = 75  # the exit code of a program that stopped on request


def leave_at_interrupt() -> None:
    """Makes Ctrl-C end the program with a line, while it still imports its modules."""
    signal.signal(signal.SIGINT, lambda *_: _leave("interrupted before the start"))


@contextlib.contextmanager
def leaving_at_second_interrupt() -> Iterator[None]:
    """Lets the first Ctrl-C raise KeyboardInterrupt and the second one end the program at once.

    Python runs handlers of signals between its own instructions, so that a long call of compiled
    code delays them; the thread that watches here is woken by the system itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGINT, previous)
        os.close(writer)


def _watch(reader: int) -> None:
    interrupts = 0
    while received := os.read(reader, 1):
        interrupts += received[0] == signal.SIGINT
        if interrupts == 2:
            time.sleep(_PATIENCE)
            _leave("interrupted twice; the last checkpoint is kept")
    os.close(reader)


def _leave(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
    os._exit(RESUMABLE)
