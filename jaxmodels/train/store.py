"""A folder in an object store (gs://, s3://, ...), by fsspec. What goes wrong there is one line."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxmodels.errors import InputError, RunError


class Store:
    """Objects below a URL, by their names from there on. An object is there whole or not at all.

    Every method raises RunError where the store cannot be reached, or refuses.

    Raises:
      InputError: no such kind of store is known, or its package is not installed.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        try:
            from fsspec.core import url_to_fs

            with self._reaching():
                self._system, self._root = url_to_fs(self.url)
        except ImportError:
            raise InputError(
                f"mirror = {url}; expected the packages for it: pip install -e '.[cloud]'"
            ) from None

    def sizes(self, under: str = "") -> dict[str, int]:
        """Returns the bytes of each object below a folder by its name; {}: there are none."""
        with self._reaching():
            self._system.invalidate_cache()
            found = self._system.find(self._path(under), detail=True)
        start, folder = len(self._path("")) + 1, self._path(under) + "/"
        return {
            path[start:]: int(info["size"])
            for path, info in found.items()
            if path.startswith(folder)
        }

    def read(self, name: str) -> bytes | None:
        """Returns the content of an object; None where there is none."""
        with self._reaching():
            try:
                return self._system.cat_file(self._path(name))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Makes or replaces an object."""
        with self._reaching():
            self._make_parents([name])
            self._system.pipe_file(self._path(name), content)

    def upload(self, files: Mapping[str, Path]) -> None:
        """Makes objects of files, several at once."""
        with self._reaching():
            self._make_parents(files)
            self._system.put([str(file) for file in files.values()], self._paths(files))

    def download(self, files: Mapping[str, Path]) -> None:
        """Makes files of objects, several at once."""
        for file in files.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        with self._reaching():
            self._system.get(self._paths(files), [str(file) for file in files.values()])

    def delete(self, names: Iterable[str]) -> None:
        """Deletes objects."""
        paths = self._paths(names)
        with self._reaching():
            if paths:
                self._system.rm(paths)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")

    def _paths(self, names: Iterable[str]) -> list[str]:
        return [self._path(name) for name in names]

    def _make_parents(self, names: Iterable[str]) -> None:
        # Buckets have no folders; asked for one, their clients might make a bucket.
        if "file" in self._system.protocol:
            for parent in {path.rpartition("/")[0] for path in self._paths(names)}:
                self._system.makedirs(parent, exist_ok=True)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turns what clients of stores raise, each its own types, into one line."""
        try:
            yield
        except (ImportError, MemoryError):
            raise
        except Exception as error:
            raise RunError(
                f"mirror {self.url}: {_cause(error)}; what the workdir has is whole, and the same"
                " command goes on once the store can be reached"
            ) from None


def _cause(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.errno is None:
        # So clients say it of a bucket; of an object that is not there, it is no error here.
        return f"there is no such bucket ({error})"
    said: Any = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {said[0][:200]}" if said[0] else type(error).__name__
