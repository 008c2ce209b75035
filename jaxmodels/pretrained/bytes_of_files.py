"""Reads bytes of files at known places: arrays that lie in them as they are, and headers."""

import mmap
import struct
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.pretrained.weights import Stored, readable

_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of name and extra field of a part of a zip


def mapped(
    path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype, order: str = "C"
) -> Stored:
    """Describes an array whose numbers lie in a file as they are, from a byte on.

    order: C, or F for the first axis being the fastest.

    Raises:
      ValueError: it would end behind the file.
    """
    if offset + size_of(shape) * dtype.itemsize > path.stat().st_size:
        raise ValueError("an array ends behind the end of the file")
    return Stored(shape, dtype, partial(map_array, path, offset, shape, dtype, order))


def map_array(
    path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype, order: str = "C"
) -> np.ndarray:
    """Maps an array of a file, see `mapped`; it cannot be written to."""
    with readable(path, "weights"):
        if not size_of(shape):  # nothing can be mapped
            return np.zeros(shape, dtype)
        content = np.memmap(path, np.uint8, "r", offset, (size_of(shape) * dtype.itemsize,))
        array = content.view(np.ndarray).view(dtype)
        return array.reshape(shape) if order == "C" else array.reshape(shape[::-1]).transpose()


def size_of(shape: tuple[int, ...]) -> int:
    """Counts the numbers of an array; whole numbers of Python do not overflow."""
    size = 1
    for length in shape:
        size *= length
    return size


class Cursor:
    """A place in a file that moves on with what is read there.

    Every method raises ValueError where the file ends before.
    """

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 0

    def numbers(self, layout: str) -> tuple:
        """Reads numbers by their letters in `struct`, little-endian."""
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def take(self, size: int) -> bytes:
        """Reads bytes."""
        start = self.skip(size)
        return self.data[start : self.at]

    def skip(self, size: int) -> int:
        """Goes on by some bytes and gives the place before them."""
        if size > len(self.data) - self.at:
            raise ValueError("it ends early")
        self.at += size
        return self.at - size


def place_in_zip(path: Path, part: zipfile.ZipInfo) -> int:
    """Finds the byte from which a part that is not compressed lies in a zip file.

    Raises:
      ValueError: it is compressed or ends behind the file.
    """
    if part.compress_type != zipfile.ZIP_STORED or part.compress_size != part.file_size:
        raise ValueError(f"{part.filename} is compressed")
    with open(path, "rb") as file:
        file.seek(part.header_offset)
        name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    start = part.header_offset + _LOCAL_HEADER.size + name + extra
    if start + part.file_size > path.stat().st_size:
        raise ValueError(f"{part.filename} ends behind the end of the file")
    return start


def require_stored(path: Path) -> None:
    """Refuses a zip file whose parts are compressed or larger than the file, as PyTorch writes
    none. What is no zip file passes.

    Raises:
      InputError: it would unpack to more than it is.
    """
    if not zipfile.is_zipfile(path):
        return
    with readable(path, path.suffix), zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    unpacked = sum(part.file_size for part in parts)
    if unpacked > path.stat().st_size:
        raise InputError(
            f"{path} would unpack to {unpacked:,} bytes from {path.stat().st_size:,}; expected a"
            " file as PyTorch writes it, which is not compressed"
        )
