"""Reads CTranslate2's model.bin, of binary version 6 (ctranslate2/specs/model_spec.py)."""

from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxmodels.pretrained.bytes_of_files import Cursor, mapped, size_of
from jaxmodels.pretrained.weights import Stored, readable

_VERSION = 6
_TYPES = ("<f4", "<i1", "<i2", "<i4", "<f2", ml_dtypes.bfloat16)
_DTYPES = [np.dtype(name) for name in _TYPES]


def open_ctranslate2(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Opens a file and gives its arrays and its facts: "spec", "revision", and its scalars, as
    "decoder/num_heads".

    An array of 8 or 16 bits with a scale beside it is the float32 array that both make. An alias is
    there under its own name too.

    Raises:
      InputError: a damaged file, or one of another version.
    """
    with readable(path, "CTranslate2"):
        cursor = Cursor(path)
        (version,) = cursor.numbers("I")
        if version != _VERSION:
            raise ValueError(f"binary version {version}; expected {_VERSION}")
        facts: dict[str, Any] = {"spec": _string(cursor)}
        facts["revision"], count = cursor.numbers("II")
        arrays: dict[str, Stored] = {}
        for _ in range(count):
            name, stored = _variable(path, cursor)
            if stored.shape:
                arrays[name] = stored
            else:
                facts[name] = stored.read().item()
        (aliases,) = cursor.numbers("I")
        for _ in range(aliases):
            alias, name = _string(cursor), _string(cursor)
            if name in facts:
                facts[alias] = facts[name]
            else:
                arrays[alias] = arrays[name]
        if cursor.at != len(cursor.data):
            raise ValueError("it goes on after its last alias")
        return _scaled(arrays, facts), facts


def _string(cursor: Cursor) -> str:
    return cursor.take(*cursor.numbers("H")).rstrip(b"\0").decode()


def _variable(path: Path, cursor: Cursor) -> tuple[str, Stored]:
    name = _string(cursor)
    (axes,) = cursor.numbers("B")
    shape = cursor.numbers(f"{axes}I")
    kind, size = cursor.numbers("BI")
    dtype = _DTYPES[kind]
    if size != (size_of(shape) * dtype.itemsize) % 2**32:
        raise ValueError(f"{name} has {size} bytes; expected {shape} of {dtype}")
    # The size has 32 bits, which the largest arrays exceed.
    return name, mapped(path, cursor.skip(size_of(shape) * dtype.itemsize), shape, dtype)


def _scaled(arrays: dict[str, Stored], facts: dict[str, Any]) -> dict[str, Stored]:
    """Puts the scales of arrays of whole numbers into these."""
    made = {}
    for name, stored in arrays.items():
        if name.removesuffix("_scale") != name and name.removesuffix("_scale") in arrays:
            continue
        scale = arrays.get(f"{name}_scale")
        if np.issubdtype(stored.dtype, np.integer) and scale is not None:
            if scale.shape != stored.shape[:1]:
                raise ValueError(f"{name} has a scale of shape {scale.shape}; expected one per row")
            stored = Stored(stored.shape, np.dtype(np.float32), partial(_divided, stored, scale))
        elif np.issubdtype(stored.dtype, np.integer) and f"{name}_scale" in facts:
            number = np.float32(facts.pop(f"{name}_scale"))
            stored = Stored(stored.shape, np.dtype(np.float32), partial(_divided, stored, number))
        made[name] = stored
    return made


def _divided(stored: Stored, scale: Stored | np.float32) -> np.ndarray:
    numbers = stored.read().astype(np.float32)
    if not isinstance(scale, Stored):
        return numbers / scale
    rows = scale.read().astype(np.float32)
    return numbers / rows.reshape(-1, *(1,) * (len(stored.shape) - 1))
