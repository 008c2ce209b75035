"""Reads .safetensors and .npz files of weights that are known by name and shape.

Names, shapes and types stand in the headers of such a file. They are compared with what a network
has before an array is read, so that a file of a few megabytes cannot unpack to many gigabytes, and
nothing in it is ever executed.
"""

import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxmodels.errors import InputError

SUFFIXES = (".safetensors", ".npz")
_SHOWN = 10
# As safetensors and numpy write them.
_FLOATS = ("F16", "F32", "F64", "<f2", "<f4", "<f8", ">f2", ">f4", ">f8")

Shapes = Mapping[str, tuple[int, ...]]


class _Header(NamedTuple):
    """What a file says of one array before it is read."""

    shape: tuple[int, ...]
    dtype: str


def read_weights(path: Path, expected: Shapes, network: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a .safetensors or .npz file, which have the expected names and shapes.

    network: what messages call the network whose weights these are.

    Raises:
      InputError: another suffix, a file that cannot be read, other names or shapes, or numbers that
        are no floats or not finite; it names the file and the array.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} has suffix '{path.suffix}'; expected {' or '.join(SUFFIXES)}")
    read = _read_npz if path.suffix == ".npz" else _read_safetensors
    with _readable(path):
        weights = read(path, expected, network)
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {name} has numbers that are not finite; expected weights")
    return weights


def check_weights(path: Path, found: Shapes, expected: Shapes, network: str) -> None:
    """Compares names and shapes with those that a network has.

    Raises:
      InputError: they differ; it lists the names.
    """
    wrong = {
        "lacks": expected.keys() - found.keys(),
        "has unknown": found.keys() - expected.keys(),
    }
    if any(wrong.values()):
        told = "; ".join(f"{verb} {_listed(names)}" for verb, names in wrong.items() if names)
        raise InputError(f"{path} holds other weights than the {network}'s: it {told}")
    for name, shape in expected.items():
        if tuple(found[name]) != shape:
            raise InputError(f"{path}: {name} has shape {tuple(found[name])}; expected {shape}")


def require_stored(path: Path) -> None:
    """Refuses a zip file whose parts are compressed or larger than the file, as PyTorch writes
    none. What is no zip file passes.

    Raises:
      InputError: it would unpack to more than it is.
    """
    if not zipfile.is_zipfile(path):
        return
    with _readable(path), zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    unpacked = sum(part.file_size for part in parts)
    if unpacked > path.stat().st_size:
        raise InputError(
            f"{path} would unpack to {unpacked:,} bytes from {path.stat().st_size:,}; expected a"
            " file as PyTorch writes it, which is not compressed"
        )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    # A damaged file makes the libraries raise almost anything.
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{path} is not readable as {path.suffix}: {error.strerror or error}"
        ) from None
    except (Exception, SafetensorError) as error:
        first = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(f"{path} is not readable as {path.suffix}: {first}") from None


def _read_npz(path: Path, expected: Shapes, network: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename.removesuffix(".npy"): part for part in archive.infolist()}
        names = dict.fromkeys(parts, ()) | {n: s for n, s in expected.items() if n in parts}
        check_weights(path, names, expected, network)
        headers = {name: _header_of(archive, part) for name, part in parts.items()}
        _check_headers(path, headers, expected, network)
        weights = {}
        for name, part in parts.items():
            shape, dtype = headers[name]
            with archive.open(part) as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
                if file.read(1) or values.shape != shape or values.dtype != dtype:
                    raise ValueError(f"{name} is longer than its header says")
            weights[name] = values
    return weights


def _header_of(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> _Header:
    """Reads the first bytes of an array, which unpacks no more than these."""
    with archive.open(part) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # others are for headers of more than 64 KB
            raise ValueError(f"{part.filename} has a header of version {version}; expected (1, 0)")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return _Header(shape, dtype.str)


def _read_safetensors(path: Path, expected: Shapes, network: str) -> dict[str, np.ndarray]:
    with safe_open(path, framework="numpy") as file:
        headers = {}
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            headers[name] = _Header(tuple(part.get_shape()), part.get_dtype())
        _check_headers(path, headers, expected, network)
        return {name: file.get_tensor(name) for name in headers}


def _check_headers(
    path: Path, headers: Mapping[str, _Header], expected: Shapes, network: str
) -> None:
    shapes = {name: header.shape for name, header in headers.items()}
    check_weights(path, shapes, expected, network)
    for name, header in headers.items():
        if header.dtype not in _FLOATS:
            raise InputError(f"{path}: {name} has type {header.dtype}; expected floats")


def _listed(names: Collection[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(sorted(names)[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
