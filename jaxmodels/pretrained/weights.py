"""Opens files of published weights, whatever their format, without reading an array of them.

Names, shapes and types stand in the headers of such files. So a file can be compared with a network
before it is unpacked, and nothing in it is ever executed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.errors import InputError


@dataclass(frozen=True)
class Stored:
    """An array of a file.

    dtype: the type of what `read` gives, which a compressed array has not in the file.
    read: gives the array. Where the format allows it, the array is mapped from the file and cannot
      be written to: only what is used of it is read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Weights(Mapping[str, Stored]):
    """The arrays of published weights by their names.

    path: what was opened, for messages.
    config: the config.json beside the weights, or a GGUF file's metadata; empty where there is
      none.
    files: all files that hold arrays, in order.
    """

    path: Path
    arrays: Mapping[str, Stored]
    config: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def __getitem__(self, name: str) -> Stored:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


@contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """Turns whatever a library raises for a damaged file into one line.

    kind: what the file was taken for, as ".safetensors".

    Raises:
      InputError: the block raised anything.
    """
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} is not readable as {kind}: {error.strerror or error}") from None
    except Exception as error:
        raise InputError(f"{path} is not readable as {kind}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """Gives the first line of an error's message, or its type where it has none."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
