"""A progress bar with rate, time left and live scores; requests to stop by a signal."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from jaxmodels.interrupts import meeting_interrupt


class Progress:
    """A progress bar on standard error where that is a terminal; nothing elsewhere."""

    def __init__(self, total: int, start: int):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self.visible = console.is_terminal
        self._bar = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scores]}"),
            console=console,
            disable=not self.visible,
        )
        self._task = self._bar.add_task("", total=total, completed=start, rate="", scores="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Hides the bar inside the block, where others may print or show bars of their own."""
        self._bar.stop()
        yield
        self._bar.start()

    def at(self, step: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=step)

    def show(self, scores: dict[str, float], steps_per_second: float) -> None:
        """Shows scores and rate beside the bar."""
        text = " ".join(f"{name} {value:.4g}" for name, value in scores.items())
        self._bar.update(self._task, scores=text, rate=f"{steps_per_second:,.0f} steps/s")


class Interruption:
    """Turns SIGTERM and the first Ctrl-C into a request to stop, which the loop reads."""

    def __init__(self):
        self.requested = False
        self._previous: dict = {}
        self._met = contextlib.ExitStack()

    def __enter__(self) -> "Interruption":
        # Python allows handlers in the main thread only (a notebook may run us in another).
        if threading.current_thread() is threading.main_thread():
            for kind in (signal.SIGTERM, signal.SIGINT):
                self._previous[kind] = signal.signal(kind, self._request)
            self._met.enter_context(meeting_interrupt())
        return self

    def __exit__(self, *_) -> None:
        self._met.close()
        for kind, handler in self._previous.items():
            signal.signal(kind, handler)

    def _request(self, kind: int, frame: FrameType | None) -> None:
        if self.requested and kind == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        # Unlike print, this may interrupt a print.
        os.write(2, b"stopping after this chunk of steps\n")
