"""Files as torch.save writes them, made without torch."""

import io
import pickle
import struct
import sys
import zipfile
from types import ModuleType
from typing import NamedTuple

import numpy as np

_STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}
_MAGIC = 0x1950A86A20F9469CFC6C


class View(NamedTuple):
    """A tensor that sees a part of an array."""

    array: np.ndarray
    offset: int
    shape: tuple
    strides: tuple


class _Storage(NamedTuple):
    array: np.ndarray


def _modules():
    """The names of torch that a pickle of tensors imports."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in _STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    return {"torch": torch, "torch._utils": utils}


def _pickled(content, protocol, modules):
    """Pickles content with its arrays as tensors; gives the arrays by the keys of storages too."""
    file, arrays = io.BytesIO(), {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, _Storage):
                return None
            key = str(len(arrays))
            arrays[key] = value.array
            kind = getattr(modules["torch"], _STORAGES[str(value.array.dtype)])
            return ("storage", kind, key, "cpu", value.array.size, *extra)

        def reducer_override(self, value):
            if isinstance(value, np.ndarray):
                strides = tuple(stride // value.itemsize for stride in value.strides)
                value = View(value, 0, value.shape, strides)
            if not isinstance(value, View):
                return NotImplemented
            array, *rest = value
            arguments = (_Storage(array.ravel()), *rest, False, {})
            return modules["torch._utils"]._rebuild_tensor_v2, arguments

    extra = (None,) if protocol == 2 and modules.get("legacy") else ()
    Pickler(file, protocol).dump(content)
    return file.getvalue(), arrays


def _with_modules(make):
    modules = _modules()
    kept = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        return make(modules)
    finally:
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def save(path, tensors, objects=(), protocol=2):
    """Writes a zip file of tensors and other objects."""
    content, arrays = _with_modules(lambda m: _pickled({**tensors, **dict(objects)}, protocol, m))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", content)
        archive.writestr("w/byteorder", b"little")
        for key, array in arrays.items():
            archive.writestr(f"w/data/{key}", array.tobytes())


def save_legacy(path, tensors, objects=(), protocol=2):
    """Writes a file as torch before 1.6."""
    content, arrays = _with_modules(
        lambda m: _pickled({**tensors, **dict(objects)}, protocol, {**m, "legacy": True})
    )
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(part, 2) for part in (_MAGIC, 1001, facts)]
    parts += [content, pickle.dumps(list(arrays), 2)]
    for array in arrays.values():
        parts += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(parts))
