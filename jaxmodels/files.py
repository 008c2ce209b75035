"""Files that are either whole or not there, and files of JSON lines."""

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxmodels.errors import InputError

# More than any file of a run holds; what is larger is none.
LARGEST_JSON = 1 << 28


def is_path(data: str) -> bool:
    """Whether a value of --data names a folder or file (with a dot in front, or with a separator
    and there, or a file with an ending), not a data set."""
    if data.startswith((".", "~", os.sep)) or (os.sep in data and Path(data).exists()):
        return True
    return bool(Path(data).suffix) and Path(data).is_file()


def require_regular(path: Path) -> None:
    """Requires a path at which a file may be written.

    Raises:
      InputError: there is something other than a regular file (a device, a pipe, a link), which
        writing would replace or empty.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is {_kind(mode)}; expected a regular file or none")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Adds the file's name to an error of writing, which lacks it once the file is open."""
    try:
        yield
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file by what `write` puts into it: a kill leaves the old or the new one.

    Raises:
      InputError: see `require_regular`.
    """
    require_regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    # "x": a link that somebody has put there is not written through.
    with _named(path), open(partial, "xb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Replaces a file by this text, as a whole."""
    # JSON may hold half a surrogate pair, which a file may not.
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "replace")))


def write_json(path: Path, value: Any, indent: int = 1) -> None:
    """Replaces a file by this value as JSON, as a whole."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; None where there is no regular file, no JSON, or more than 256 MB."""
    try:
        facts = path.stat()
        if stat.S_ISREG(facts.st_mode) and facts.st_size <= LARGEST_JSON:
            return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        pass
    return None


def append_text(path: Path, text: str) -> None:
    """Adds text to a file, which is made where there is none.

    Raises:
      OSError: it cannot be written, or it is a link.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with _named(path), open(os.open(path, flags, 0o666), "ab") as file:
        file.write(text.encode("utf-8", "replace"))


def append_line(path: Path, value: dict) -> None:
    """Adds a line to a file of JSON lines."""
    append_text(path, json.dumps(value) + "\n")


def read_lines(path: Path) -> list[dict]:
    """Reads the objects of a file of JSON lines; leaves out a line that is no complete object,
    such as the last one after a kill."""
    return list(each_line(path))


def each_line(path: Path) -> Iterator[dict]:
    """Yields what `read_lines` returns, one at a time: those of a long run fill much memory."""
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            return
        with open(path, "rb") as file:
            for text in file:
                if text.endswith(b"\n") and (line := parse_line(text)):
                    yield line


def parse_line(text: bytes) -> dict | None:
    """Parses the object of a line; None where the line holds none."""
    with contextlib.suppress(ValueError, RecursionError):
        line = json.loads(text)
        if isinstance(line, dict):
            return line
    return None


def sync(path: Path) -> None:
    """Waits until what was written to a file is on the disk; does nothing without a file."""
    if path.exists():
        with _named(path), open(path, "rb") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Gives a folder to fill, which appears at `target` when the block ends without an error.

    If another process made `target` meanwhile, that one stays, since it must hold the same.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield partial
        try:
            os.rename(partial, target)
        except OSError:
            if not target.exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
