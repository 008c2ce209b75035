"""Reads .pt, .pth and .bin files of torch.save, executing nothing: zip files, and the pickles of
torch before 1.6."""

import struct
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.pretrained.bytes_of_files import map_array, place_in_zip, require_stored
from jaxmodels.pretrained.tensor_pickle import Storage, Tensor, read_pickle
from jaxmodels.pretrained.weights import Stored, readable

_MAGIC = 0x1950A86A20F9469CFC6C  # with which the files of torch before 1.6 begin
# Where training scripts put the weights among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")

Places = dict[str, int]  # of storages, in bytes, by their keys


def open_torch(path: Path) -> dict[str, Stored]:
    """Opens a file of named tensors; these are mapped.

    Names of nested dictionaries are joined by dots. Of a checkpoint the part "state_dict",
    "model_state_dict" or "model" counts, and everything but tensors is left out.

    Raises:
      InputError: a damaged file, or one that holds other objects than tensors, containers, numbers
        and texts, since making these could run any code.
    """
    require_stored(path)
    with readable(path, "PyTorch"):
        try:
            content, places = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        except InputError as error:
            raise InputError(
                f"{path} holds {error}, which is neither tensor nor container, and making it could"
                " run any code; expected named tensors: torch.save(model.state_dict(), FILE), where"
                " the file comes from"
            ) from None
        for wrapper in _WRAPPERS:
            if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
                content = content[wrapper]
                break
        tensors = _named(content)
        if not tensors:
            raise ValueError("it holds no named tensors")
        return {name: _stored(path, tensor, places) for name, tensor in tensors.items()}


def _read_zip(path: Path) -> tuple[Any, Places]:
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: part for part in archive.infolist()}
        pickles = [name for name in parts if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it has no data.pkl")
        home = pickles[0].removesuffix("data.pkl")
        order = home + "byteorder"
        if order in parts and archive.read(order) != b"little":
            raise ValueError("its numbers are big-endian; expected little-endian")
        with archive.open(pickles[0]) as file:
            content = read_pickle(file)
    storages = home + "data/"
    places = {
        name.removeprefix(storages): place_in_zip(path, part)
        for name, part in parts.items()
        if name.startswith(storages)
    }
    return content, places


def _read_legacy(path: Path) -> tuple[Any, Places]:
    """Reads a file of torch before 1.6: pickles of a magic number, a version, facts of the machine,
    the content and the keys of its storages, then these."""
    with open(path, "rb") as file:
        if file.read(1) != b"\x80":
            raise ValueError("it is neither a zip file nor a pickle")
        file.seek(0)
        if read_pickle(file) != _MAGIC:
            raise ValueError("it is a pickle that torch did not write")
        read_pickle(file)
        if not read_pickle(file)["little_endian"]:
            raise ValueError("its numbers are big-endian; expected little-endian")
        content = read_pickle(file)
        keys = read_pickle(file)
        widths = {
            tensor.storage.key: _dtype(tensor.storage).itemsize
            for tensor in _named(content).values()
        }
        places, end = {}, path.stat().st_size
        for key in keys:
            (size,) = struct.unpack("<q", file.read(8))
            places[key] = file.tell()
            # A storage that no tensor looks at has a width that nothing tells.
            file.seek(size * widths[key], 1)
            if size < 0 or file.tell() > end:
                raise ValueError("it ends early")
        return content, places


def _named(content: Any, prefix: str = "", seen: set[int] | None = None) -> dict[str, Tensor]:
    """Collects tensors by their names. A dictionary counts where it is first seen, since one may
    contain itself."""
    seen = set() if seen is None else seen
    if isinstance(content, Tensor):
        return {prefix: content}
    if not isinstance(content, dict) or id(content) in seen:
        return {}
    seen.add(id(content))
    named = {}
    for name, part in content.items():
        named |= _named(part, f"{prefix}.{name}" if prefix else str(name), seen)
    return named


def _dtype(storage: Storage) -> np.dtype:
    if storage.dtype == "bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(storage.dtype).newbyteorder("<")


def _stored(path: Path, tensor: Tensor, places: Places) -> Stored:
    dtype = _dtype(tensor.storage)
    start = places[tensor.storage.key]
    if start + tensor.storage.size * dtype.itemsize > path.stat().st_size:
        raise ValueError("a tensor ends behind the end of the file")
    return Stored(tensor.shape, dtype, partial(_view, path, start, tensor, dtype))


def _view(path: Path, start: int, tensor: Tensor, dtype: np.dtype) -> np.ndarray:
    storage = map_array(path, start, (tensor.storage.size,), dtype)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides)
    view.flags.writeable = False
    return view
