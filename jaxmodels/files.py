"""Files that are either whole or not there, and files of JSON lines."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file by what `write` puts into it: a kill leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "wb") as file:
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
    """Reads a JSON file; None where there is no file or it holds no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def append_line(path: Path, value: dict) -> None:
    """Adds a line to a file of JSON lines."""
    with open(path, "a") as file:
        file.write(json.dumps(value) + "\n")


def read_lines(path: Path) -> list[dict]:
    """Reads the objects of a file of JSON lines; leaves out a line that is no complete object,
    such as the last one after a kill."""
    try:
        texts = path.read_text("utf-8").splitlines(keepends=True)
    except (OSError, ValueError):
        return []
    lines = []
    for text in texts:
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict) and text.endswith("\n"):
                lines.append(line)
    return lines


def sync(path: Path) -> None:
    """Waits until what was written to a file is on the disk; does nothing without a file."""
    if path.exists():
        with open(path, "a") as file:
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
