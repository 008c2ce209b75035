"""An iterator that makes its items one ahead, in a thread."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

from jaxmodels.interrupts import keep_from_children
from jaxmodels.train.children import Children

Item = TypeVar("Item")
_LOOK = 0.001  # seconds between looks at the device while an item is missing


class Feed(Generic[Item]):
    """Items made in a thread, one ahead of the one in use.

    items: a generator, which is closed at the end; its errors are raised where an item is taken.
    idle: tells whether the device has finished its work.
    waited: seconds that the device was idle because an item was missing.
    """

    def __init__(self, items: Generator[Item, None, None], idle: Callable[[], bool]):
        self._items, self._idle = items, idle
        self._made: queue.Queue = queue.Queue(maxsize=1)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._make, daemon=True)
        self._children = Children()
        self.waited = 0.0

    def __enter__(self) -> "Feed[Item]":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        # A thread that waits for a process that died may do so until the program ends.
        self._thread.join(timeout=1.0 if self._children.failed else None)

    def __iter__(self) -> Iterator[Item]:
        while True:
            item, error = self._next()
            if error:
                raise error
            if item is None:
                return
            yield item

    def _next(self) -> tuple[Item | None, BaseException | None]:
        idle_since = None
        while True:
            self._children.require_alive()
            try:
                made = self._made.get(timeout=_LOOK)
            except queue.Empty:
                if idle_since is None and self._idle():
                    idle_since = time.perf_counter()
                continue
            if idle_since is not None:
                self.waited += time.perf_counter() - idle_since
            return made

    def _make(self) -> None:
        keep_from_children()
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
            self._put((None, None))
        except BaseException as error:
            self._put((None, error))
        finally:
            self._items.close()

    def _put(self, made: tuple) -> bool:
        while not self._ended.is_set():
            try:
                self._made.put(made, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
