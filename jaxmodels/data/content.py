"""Fingerprints of files by their content, which is read once.

The cache remembers a hash for as long as absolute path, size, device, inode, time of modification
and time of the inode's change (which users cannot set) stay the same to the nanosecond. This
assumes that every write to a file changes one of these, as local file systems guarantee. The hash
of a file that changed less than two seconds ago is not remembered, because a later write might
carry the same time.
"""

import contextlib
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxmodels.cache import cache_folder, not_written
from jaxmodels.data.walking import open_regular

_SETTLED = 2_000_000_000  # nanoseconds after which a time of change is trusted
_TOLD = 1 << 28  # bytes to hash from which on a line says so
_KEY, _HASH = 16, 16  # bytes


def fingerprint_of(name: str, files: Mapping[str, Path], root: Path) -> str:
    """Hashes the content of files with the names that they have in their data set: 16 digits.

    Their folder and their times do not enter it. A file that cannot be read enters by its error.

    name: what a line on standard error calls the data set. root: the folder that holds it, by which
    hashes are remembered.

    Raises:
      InputError, RunError: the cache cannot be written.
    """
    digest = hashlib.sha256()
    contents = content_hashes(name, files.values(), root)
    for called, content in sorted(zip(map(os.fsencode, files), contents)):
        digest.update(called + b"\0" + content + b"\0")
    return digest.hexdigest()[:16]


def content_hashes(name: str, paths: Iterable[Path], root: Path) -> list[bytes]:
    """Computes the first 128 bits of each file's SHA-256; the error's number if it is unreadable.

    Raises:
      InputError, RunError: the cache cannot be written.
    """
    known, found, fresh = _Remembered(root), {}, False
    before = set(known.hashes)
    paths = [Path(os.path.abspath(path)) for path in paths]
    keys = [_key(path) for path in paths]
    missing = [index for index, (key, _) in enumerate(keys) if key not in known.hashes]
    size = sum(keys[index][1] for index in missing)
    if size >= _TOLD:
        print(f"hashing {size / 1e6:,.0f} MB of {name}, once", file=sys.stderr)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(_hash, (paths[index] for index in missing))
        for index, (key, content) in zip(missing, results):
            found[index] = content
            if key:
                known.hashes[key] = content
                fresh = True
    if fresh:
        # The hashes of files that are gone or have changed are forgotten.
        present = {key for key, _ in keys} | set(known.hashes) - before
        known.hashes = {key: known.hashes[key] for key in known.hashes if key in present}
        known.write()
    return [found.get(index) or known.hashes[key] for index, (key, _) in enumerate(keys)]


def _key(path: Path) -> tuple[bytes, int]:
    """Returns the key that a hash is remembered by, and the size of the file."""
    try:
        facts = path.stat()
    except OSError:
        return b"", 0
    return _key_of(path, facts), facts.st_size


def _key_of(path: Path, facts: os.stat_result) -> bytes:
    numbers = facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev
    text = os.fsencode(path) + b"\0" + repr(numbers).encode()
    return hashlib.blake2b(text, digest_size=_KEY).digest()


def _hash(path: Path) -> tuple[bytes, bytes]:
    """Returns the key to remember a file's hash by (empty: it is not remembered), and the hash."""
    try:
        with open_regular(path) as file:
            before = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256")
            after = os.fstat(file.fileno())
    except OSError as error:
        return b"", f"error {error.errno}".encode()
    settled = time.time_ns() - max(after.st_ctime_ns, after.st_mtime_ns) > _SETTLED
    key = _key_of(path, after)
    unchanged = key == _key_of(path, before)
    return key if settled and unchanged else b"", digest.digest()[:_HASH]


class _Remembered:
    """The known hashes of the files of one data set, in a file with a checksum."""

    def __init__(self, root: Path):
        name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:16]
        self.path = cache_folder("data") / "hashes" / name
        self.hashes = dict(self._read())

    def _read(self) -> Iterator[tuple[bytes, bytes]]:
        try:
            with open_regular(self.path) as file:
                content = file.read()
        except OSError:
            return
        checksum, entries = content[:32], content[32:]
        if hashlib.sha256(entries).digest() != checksum or len(entries) % (_KEY + _HASH):
            print(f"note: {self.path} is damaged; files are hashed anew", file=sys.stderr)
            return
        for start in range(0, len(entries), _KEY + _HASH):
            yield entries[start : start + _KEY], entries[start + _KEY : start + _KEY + _HASH]

    def write(self) -> None:
        entries = b"".join(key + content for key, content in self.hashes.items())
        content = hashlib.sha256(entries).digest() + entries
        # Each thread writes a file of its own, because others may write the same hashes.
        partial = self.path.with_name(f".{self.path.name}-{os.getpid()}-{threading.get_ident()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, self.path)
        except OSError as error:
            raise not_written(self.path, error) from None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()
