"""Reads .npz files: a zip file of arrays with a header each."""

import zipfile
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.pretrained.bytes_of_files import mapped, place_in_zip, size_of
from jaxmodels.pretrained.weights import Stored, readable


def open_npz(path: Path) -> dict[str, Stored]:
    """Opens a file; arrays are mapped where they are not compressed.

    Raises:
      InputError: a damaged file, or an array of objects, which only executing a pickle could make.
    """
    with readable(path, "npz"), zipfile.ZipFile(path) as archive:
        return {
            part.filename.removesuffix(".npy"): _stored(path, archive, part)
            for part in archive.infolist()
        }


def _stored(path: Path, archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Stored:
    """Reads the first bytes of a part, which unpacks no more than these."""
    with archive.open(part) as file:
        if (version := np.lib.format.read_magic(cast(BinaryIO, file))) != (1, 0):
            # Others are for headers of more than 64 KB.
            raise ValueError(f"{part.filename} has a header of version {version}; expected (1, 0)")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(cast(BinaryIO, file))
        header = file.tell()
    name = part.filename.removesuffix(".npy")
    if dtype.hasobject or dtype.names:
        raise InputError(f"{path}: {name} has type {dtype.str}; expected numbers")
    if header + size_of(shape) * dtype.itemsize != part.file_size:
        raise ValueError(f"{name} is not as long as its header says")
    if part.compress_type == zipfile.ZIP_STORED:
        start = place_in_zip(path, part) + header
        return mapped(path, start, shape, dtype, "F" if is_fortran else "C")
    return Stored(shape, dtype, partial(_unpacked, path, part.filename))


def _unpacked(path: Path, name: str) -> np.ndarray:
    with readable(path, "npz"), zipfile.ZipFile(path) as archive, archive.open(name) as file:
        array = np.lib.format.read_array(cast(BinaryIO, file), allow_pickle=False)
        if file.read(1):  # at the end, the checksum is compared
            raise ValueError(f"{name} is longer than its header says")
        return array
