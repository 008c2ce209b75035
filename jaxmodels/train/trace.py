"""A trace of a few steps, for Perfetto and XProf."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from jaxmodels.protocol import State
from jaxmodels.train.hosts import is_first


class Trace:
    """Traces whole calls of the compiled program until so many steps are in the trace. The first
    call, which is slower than others, is left out where there are more.

    steps: 0: there is no trace.
    """

    def __init__(self, folder: Path, steps: int):
        self._folder, self._left = folder, steps if is_first() else 0
        self._is_warm = False

    @contextlib.contextmanager
    def of(self, start: int, stop: int, state: Callable[[], State]) -> Iterator[None]:
        """Traces the steps from `start` to `stop`, which run inside, if they are due."""
        if self._left <= 0 or not self._is_warm:
            self._is_warm = True
            yield
            return
        jax.block_until_ready(state())
        with jax.profiler.trace(str(self._folder), create_perfetto_trace=True):
            yield
            jax.block_until_ready(state())
        self._left -= stop - start
        print(f"note: steps {start}..{stop - 1} are traced in {self._folder}", file=sys.stderr)
