"""Every change of a file that this process makes below a folder, seen before it happens."""

import builtins
import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Functions that change names, and which of their arguments are paths.
_CHANGES = {
    "replace": (0, 1),
    "rename": (0, 1),
    "unlink": (0,),
    "remove": (0,),
    "mkdir": (0,),
    "rmdir": (0,),
    "fsync": (0,),
    "truncate": (0,),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Operation:
    """One change that is about to happen."""

    def __init__(self, number: int, name: str, path: str):
        self.number, self.name, self.path = number, name, path

    def __repr__(self) -> str:
        return f"{self.number} {self.name} {self.path}"


@contextlib.contextmanager
def watched(
    folder: Path, before: Callable[[Operation], object], alone: bool = False
) -> Iterator[list[Operation]]:
    """Calls `before` ahead of every change below a folder; what it raises, the change raises. Where
    it returns a path, a file that is opened is that one instead.

    alone: whether other changes wait while `before` is called.

    TensorStore writes the arrays of a checkpoint by itself and is not seen; what Orbax does around
    it is.
    """
    root, seen, lock = str(folder.absolute()), [], threading.RLock()
    originals = {name: getattr(os, name) for name in (*_CHANGES, "open")}
    opening = builtins.open

    def announce(name: str, paths: list[str]) -> object:
        below = [path for path in paths if path == root or path.startswith(root + os.sep)]
        if not below:
            return None
        with lock:
            operation = Operation(len(seen), name, below[0].removeprefix(root))
            seen.append(operation)
            if alone:
                return before(operation)
        return before(operation)

    def changing(name: str) -> Callable:
        def change(*arguments: Any, **named: Any) -> Any:
            folder = named.get("dir_fd", named.get("src_dir_fd"))
            places = [_place(arguments[at], folder) for at in _CHANGES[name] if at < len(arguments)]
            announce(name, places)
            return originals[name](*arguments, **named)

        return change

    def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & _WRITING:
            instead = announce("open", [_place(path, dir_fd)])
            if instead:
                return originals["open"](instead, os.O_WRONLY)
        return originals["open"](path, flags, mode, dir_fd=dir_fd)

    def python_open(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if not isinstance(file, int) and set(mode) & set("wax+"):
            instead = announce("open", [_place(file, None)])
            if instead:
                file, mode = instead, "wb" if "b" in mode else "w"
        return opening(file, mode, *arguments, **named)

    try:
        for name in _CHANGES:
            setattr(os, name, changing(name))
        os.open = os_open
        builtins.open = io.open = python_open
        yield seen
    finally:
        for name, function in originals.items():
            setattr(os, name, function)
        builtins.open = io.open = opening


def _place(path: Any, folder: int | None) -> str:
    """The absolute path of an argument: a path, or the number of an open file."""
    if isinstance(path, int):
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/self/fd/{path}")
        return ""
    path = os.fsdecode(path)
    if folder is not None and not os.path.isabs(path):
        with contextlib.suppress(OSError):
            return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    return os.path.abspath(path)
