"""Reads GGUF files, of versions 2 and 3: metadata, then arrays, most of them quantized.

The format is that of ggml's docs/gguf.md. Its own package decodes the quantized types.
"""

from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxmodels.pretrained.bytes_of_files import Cursor, map_array, mapped, size_of
from jaxmodels.pretrained.weights import Stored, readable

_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# The letters in `struct` of the types of metadata.
_LETTERS: dict[int, str] = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd"))
# The types of arrays that lie in the file as they are.
_PLAIN = {
    0: np.dtype("<f4"),
    1: np.dtype("<f2"),
    24: np.dtype("<i1"),
    25: np.dtype("<i2"),
    26: np.dtype("<i4"),
    27: np.dtype("<i8"),
    28: np.dtype("<f8"),
    30: np.dtype(ml_dtypes.bfloat16),
}


def open_gguf(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Opens a file and gives its arrays and its metadata.

    Arrays are float32 where they are quantized, and are mapped where they are not. Their shapes are
    numpy's: the fastest axis is the last.

    Raises:
      InputError: a damaged file, or one of another version.
    """
    with readable(path, "GGUF"):
        cursor = Cursor(path)
        if cursor.take(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        (version,) = cursor.numbers("I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version}; expected {' or '.join(map(str, _VERSIONS))}")
        arrays, fields = cursor.numbers("QQ")
        metadata = {}
        for _ in range(fields):
            name = _string(cursor)
            metadata[name] = _value(cursor, *cursor.numbers("I"))
        headers = [_header(cursor) for _ in range(arrays)]
        alignment = metadata.get("general.alignment", 32)
        start = -(-cursor.at // alignment) * alignment
        stored = {
            name: _stored(path, start + offset, shape, kind)
            for name, shape, kind, offset in headers
        }
        if len(stored) != arrays:
            raise ValueError("two arrays have the same name")
        return stored, metadata


def _string(cursor: Cursor) -> str:
    return cursor.take(*cursor.numbers("Q")).decode("utf-8", "replace")


def _value(cursor: Cursor, kind: int) -> Any:
    if kind == _STRING:
        return _string(cursor)
    if kind != _ARRAY:
        return cursor.numbers(_LETTERS[kind])[0]
    kind, length = cursor.numbers("IQ")
    if kind == _STRING:
        return [_string(cursor) for _ in range(length)]
    item = np.dtype(_LETTERS[kind]).newbyteorder("<")
    return np.frombuffer(cursor.take(length * item.itemsize), item).tolist()


def _header(cursor: Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Reads name, shape, type and place of an array."""
    name = _string(cursor)
    (axes,) = cursor.numbers("I")
    if axes > 8:
        raise ValueError(f"{name} has {axes} axes")
    shape = cursor.numbers(f"{axes}Q")[::-1]
    kind, offset = cursor.numbers("IQ")
    return name, shape, kind, offset


def _stored(path: Path, start: int, shape: tuple[int, ...], kind: int) -> Stored:
    if kind in _PLAIN:
        return mapped(path, start, shape, _PLAIN[kind])
    import gguf

    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    if not shape or shape[-1] % block:
        raise ValueError(f"rows of {shape[-1:]} numbers; expected blocks of {block}")
    rows = (*shape[:-1], shape[-1] // block * size)
    if start + size_of(rows) > path.stat().st_size:
        raise ValueError("an array ends behind the end of the file")
    return Stored(shape, np.dtype(np.float32), partial(_decoded, path, start, rows, kind))


def _decoded(path: Path, start: int, rows: tuple[int, ...], kind: int) -> np.ndarray:
    import gguf

    with readable(path, "GGUF"):
        numbers = map_array(path, start, rows, np.dtype(np.uint8))
        return gguf.dequantize(numbers, gguf.GGMLQuantizationType(kind))
