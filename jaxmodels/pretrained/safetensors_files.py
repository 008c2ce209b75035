"""Reads .safetensors files: a header in JSON, then the arrays one after another."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import safe_open

from jaxmodels.errors import InputError
from jaxmodels.pretrained.bytes_of_files import mapped
from jaxmodels.pretrained.weights import Stored, readable

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("<u1"),
    "I8": np.dtype("<i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


def open_safetensors(path: Path) -> dict[str, Stored]:
    """Opens a file; its arrays are mapped.

    Raises:
      InputError: a damaged file, or a type that numpy lacks.
    """
    with readable(path, "safetensors"):
        # The library checks the header: sizes, offsets, overlaps, and that nothing is left over.
        with safe_open(path, framework="numpy"):
            pass
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        return {name: _stored(path, 8 + size, name, facts) for name, facts in header.items()}


def _stored(path: Path, start: int, name: str, facts: dict) -> Stored:
    if facts["dtype"] not in DTYPES:
        raise InputError(
            f"{path}: {name} has type {facts['dtype']}; expected one of {', '.join(DTYPES)}"
        )
    dtype, shape = DTYPES[facts["dtype"]], tuple(facts["shape"])
    return mapped(path, start + facts["data_offsets"][0], shape, dtype)
