"""What lies in a folder: its regular files, each real folder once. Nothing else is ever opened."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from jaxmodels.errors import InputError

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_IGNORED = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")  # systems leave these


class Walked(NamedTuple):
    """What was found below a folder, by paths with slashes."""

    files: dict[str, os.stat_result | None]  # None: a link that leads to nothing
    folders: list[str]
    skipped: list[str]  # what is left out and why, in words


def open_regular(path: Path) -> BufferedReader:
    """Opens a file to read, without waiting for anybody where it is a FIFO.

    Raises:
      OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def walk(root: Path, place_of: Callable[[str], tuple[str, str]] = lambda path: ("", "")) -> Walked:
    """Lists the regular files and the folders below a folder, and what is left out by name.

    Links are followed, but not to a folder above them, and not twice to one folder in the same
    class. Names with a dot in front are left out and not mentioned.

    place_of: returns split and class of the folder at a path. A folder may not be in two classes of
    a split.

    Raises:
      InputError: a folder that cannot be listed, or that links put into two classes.
    """
    return _Walk(root, place_of).walked


class _Walk:
    def __init__(self, root: Path, place_of: Callable[[str], tuple[str, str]]):
        self._root, self._place_of = root, place_of
        self._seen: dict[tuple[str, tuple[int, int]], tuple[str, str]] = {}
        self.walked = Walked({}, [], [])
        real = Path(os.path.realpath(root))
        above = frozenset(_identity(folder.stat()) for folder in (real, *real.parents))
        # Links come last, so that a folder has the name of its real place if that is in the tree.
        waiting, links = [("", above)], []
        while waiting or links:
            path, above = waiting.pop() if waiting else links.pop(0)
            for entry, identity in self._folders_in(path, above):
                below = f"{path}/{entry.name}".lstrip("/")
                later = links if entry.is_symlink() else waiting
                later.append((below, above | {identity}))
        for part in (self.walked.folders, self.walked.skipped):
            part.sort()

    def _folders_in(self, path: str, above: frozenset) -> Iterator[tuple[os.DirEntry, tuple]]:
        """Lists one folder and yields the folders in it with their identities."""
        if path:
            if self._is_again(path):
                return
            self.walked.folders.append(path)
        for entry in self._entries(path):
            below = f"{path}/{entry.name}".lstrip("/")
            try:
                facts = entry.stat()
            except OSError:
                self.walked.files[below] = None
                continue
            if stat.S_ISDIR(facts.st_mode):
                if _identity(facts) in above:
                    self.walked.skipped.append(f"{below} (a link to a folder above it)")
                else:
                    yield entry, _identity(facts)
            elif stat.S_ISREG(facts.st_mode):
                self.walked.files[below] = facts
            else:
                kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "no regular file")
                self.walked.skipped.append(f"{below} ({kind})")

    def _entries(self, path: str) -> list[os.DirEntry]:
        try:
            with os.scandir(self._root / path) as entries:
                named = [e for e in entries if not e.name.startswith(".")]
        except OSError as error:
            raise InputError(
                f"{self._root / path} cannot be listed: {error.strerror}; make it readable, or name"
                " another folder"
            ) from None
        return sorted((e for e in named if e.name not in _IGNORED), key=lambda e: e.name)

    def _is_again(self, path: str) -> bool:
        split, name = self._place_of(path)
        identity = _identity((self._root / path).stat())
        name_before, path_before = self._seen.setdefault((split, identity), (name, path))
        if path_before == path:
            return False
        if name_before != name:
            raise InputError(
                f"{self._root / path} is the same folder as {path_before}, so that its pictures"
                " would be of two classes; remove one of the links"
            )
        self.walked.skipped.append(f"{path} (a link to {path_before})")
        return True


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino
