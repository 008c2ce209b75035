"""The lines of metrics.jsonl: a checkpoint knows which of them it stands for, and has a copy."""

import contextlib
import hashlib
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.files import append_text, each_line, sync, write_atomically
from jaxmodels.run_record import is_step


class Lines:
    """A file of JSON lines that only grows, and a copy that grows when a checkpoint is saved.

    The copy costs each line a second time; in return a file that was damaged is mended.
    """

    def __init__(self, path: Path, copy: Path):
        self.path, self._copy = path, copy
        self._unsealed: list[str] = []
        self._count, self._hash = 0, hashlib.sha256()

    def append(self, line: dict[str, Any]) -> None:
        """Adds a line."""
        text = json.dumps(line) + "\n"
        append_text(self.path, text)
        self._unsealed.append(text)

    def seal(self) -> tuple[int, str]:
        """Copies the lines since the last call; when all are on the disk, tells how many there are
        and their SHA-256."""
        text = "".join(self._unsealed)
        if text:
            append_text(self._copy, text)
        self._count += len(self._unsealed)
        self._hash.update(text.encode())
        self._unsealed.clear()
        sync(self.path)
        sync(self._copy)
        return self._count, self._hash.hexdigest()

    def restore(self, count: int, digest: str) -> None:
        """Makes file and copy hold the lines that a checkpoint stands for, and no others.

        Raises:
          InputError: both are damaged.
        """
        content = self._sealed(count, digest)
        self._replace(content)
        self._count, self._hash = count, hashlib.sha256(content)

    def restore_until(self, step: int) -> None:
        """Keeps the lines up to a step, for a checkpoint that does not know its lines."""
        kept = [json.dumps(line) + "\n" for line in self.each() if _is_until(line, step)]
        content = "".join(kept).encode()
        self._replace(content)
        self._count, self._hash = len(kept), hashlib.sha256(content)

    def read(self) -> list[dict[str, Any]]:
        """Reads all whole lines."""
        return list(self.each())

    def each(self) -> Iterator[dict[str, Any]]:
        """Yields all whole lines, one at a time."""
        return each_line(self.path)

    def holds(self, count: int, digest: str) -> bool:
        """Whether the file begins with the lines that a checkpoint stands for."""
        content = _first_lines(self.path, count)
        return content is not None and hashlib.sha256(content).hexdigest() == digest

    def _sealed(self, count: int, digest: str) -> bytes:
        for path in (self.path, self._copy):
            content = _first_lines(path, count)
            if content is not None and hashlib.sha256(content).hexdigest() == digest:
                if path != self.path:
                    print(
                        f"note: {self.path} was damaged; its {count:,} lines are taken from the"
                        " copy beside the checkpoints",
                        file=sys.stderr,
                    )
                return content
        raise InputError(
            f"{self.path} is damaged, and so is its copy {self._copy}: neither begins with the"
            f" {count:,} lines that the checkpoint stands for; bring one of them back, or"
            " --overwrite to start anew"
        )

    def _replace(self, content: bytes) -> None:
        self._unsealed.clear()
        for path in (self.path, self._copy):
            if _content(path) != content and (content or path.exists()):
                write_atomically(path, lambda file: file.write(content))


def _is_until(line: dict[str, Any], step: int) -> bool:
    return is_step(line.get("step")) and line["step"] <= step


def _content(path: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        if stat.S_ISREG(path.stat().st_mode):
            return path.read_bytes()
    return None


def _first_lines(path: Path, count: int) -> bytes | None:
    """Returns the first `count` lines of a file; None where there are fewer."""
    lines = (_content(path) or b"").splitlines(keepends=True)[:count]
    whole = len(lines) == count and all(line.endswith(b"\n") for line in lines)
    return b"".join(lines) if whole else None
