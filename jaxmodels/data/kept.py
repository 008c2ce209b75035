"""Entries of the cache: folders with checksums, which are made anew where they are damaged.

A manifest lists each file of an entry with its size and a CRC-32 of each of its blocks, and has a
checksum of its own. Accidental changes are found; a change on purpose, with its checksums, is not.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.cache import not_written
from jaxmodels.data.walking import open_regular
from jaxmodels.files import read_json, whole_folder, write_json

MANIFEST = "manifest.json"
_SEEN = "verified.json"  # not a file of the entry, so the manifest does not list it
_BLOCK = 1 << 22  # bytes

# What `_looks` said of each entry when this process verified it.
_verified: dict[Path, list] = {}


def kept(folder: Path, make: Callable[[Path], object], trusted: bool = False) -> Path:
    """Returns the entry that `make` fills. It is made at the first call, and the first call of
    every later process verifies it by reading all of its files once.

    An entry that lacks a file or that differs from its checksums is made anew, with a note on
    standard error. It appears only when it is complete.

    make: takes an empty folder and writes the same files into it at every call.
    trusted: later processes trust what one has verified, as long as size, inode and times of each
      file stay the same; for files that take long to read. Damage below the file system changes
      none of these, so it is not found then.

    Raises:
      InputError, RunError: the cache cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    with _told(folder):
        if os.path.lexists(folder) and not (damage := _damage(folder, trusted)):
            return folder
        if os.path.lexists(folder):
            print(f"note: {folder} {damage}; it is made anew", file=sys.stderr)
            _remove(folder)
        with whole_folder(folder) as partial:
            make(partial)
            _verified[folder] = _write_manifest(partial)
        _remember(folder, trusted)
        # This reads only the manifest, unless another process was quicker and made the entry.
        if damage := _damage(folder):
            raise OSError(None, f"what was written {damage}", str(folder))
    return folder


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array as a .npy file. Unlike an error of numpy's own, its errors have a cause."""
    with open(path, "wb") as file:
        np.lib.format.write_array(_Plain(file), np.ascontiguousarray(array), allow_pickle=False)


def reserve(path: Path) -> None:
    """Reserves the disk space of a file of the size that it has. A full disk is then an error here;
    otherwise the system would kill a process that writes into a memory map of the file.

    Raises:
      OSError: there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, os.fstat(file.fileno()).st_size))


class _Plain:
    """A file that numpy does not recognise, so that it calls `write`, whose errors have a cause."""

    def __init__(self, file):
        self.write = file.write


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise not_written(folder, error) from None


def _remember(folder: Path, trusted: bool) -> None:
    """Writes down what a verified entry looks like, for later processes."""
    if trusted:
        with contextlib.suppress(OSError):
            write_json(folder / _SEEN, _verified[folder])


def _damage(folder: Path, trusted: bool = False) -> str | None:
    """Says what is wrong with an entry, in words that follow its name; None: nothing."""
    try:
        files = _read_manifest(folder)
    except (OSError, ValueError, RecursionError):
        return f"has no {MANIFEST} that can be read"
    try:
        looks = _looks(folder, files)
        if _verified.get(folder) == looks:
            return None
        if trusted and read_json(folder / _SEEN) == [list(facts) for facts in looks]:
            _verified[folder] = looks
            return None
        for name, (size, sums) in files.items():
            if (folder / name).stat().st_size != size or _checksums(folder / name) != sums:
                return f"is damaged: {name} differs from its checksum"
    except OSError as error:
        return f"is damaged: {Path(error.filename or '').name}: {error.strerror}"
    _verified[folder] = looks
    _remember(folder, trusted)
    return None


def _looks(folder: Path, files: Iterable[str]) -> list:
    """Returns sizes, inodes and times of the files of an entry; each change alters one of them."""
    facts = [(folder / name).stat() for name in (MANIFEST, *files)]
    return [(f.st_size, f.st_mtime_ns, f.st_ctime_ns, f.st_ino) for f in facts]


def _write_manifest(folder: Path) -> list:
    """Writes the checksums of all files of an entry; returns their `_looks`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, _checksums(path)]
        for path in paths
    }
    text = json.dumps(files)
    manifest = {"crc32": zlib.crc32(text.encode()), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return _looks(folder, files)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the size and the checksums of each file of an entry.

    Raises:
      OSError, ValueError: there is none, or it differs from its own checksum.
    """
    with open_regular(folder / MANIFEST) as file:
        manifest = json.load(file)
    if not isinstance(manifest, dict) or manifest.keys() != {"crc32", "files"}:
        raise ValueError("it has other keys")
    if zlib.crc32(json.dumps(manifest["files"]).encode()) != manifest["crc32"]:
        raise ValueError("it differs from its checksum")
    return manifest["files"]


def _checksums(path: Path) -> list[int]:
    """Computes the CRC-32 of each block of a file."""
    with open_regular(path) as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        local = threading.local()

        def checksum(start: int) -> int:
            # Each thread has one buffer, because new memory for each block costs as much again.
            if not hasattr(local, "buffer"):
                local.buffer = memoryview(bytearray(_BLOCK))
            read = os.preadv(file.fileno(), [local.buffer], start)
            return zlib.crc32(local.buffer[:read])

        return list(pool.map(checksum, range(0, os.fstat(file.fileno()).st_size, _BLOCK)))


def _remove(folder: Path) -> None:
    """Moves an entry aside, which is atomic, and deletes it. Memory maps of it stay valid."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.rename(folder, aside / "damaged")
    except FileNotFoundError:  # another process was quicker
        pass
    finally:
        shutil.rmtree(aside, ignore_errors=True)
