"""Writes trained models as others publish theirs: model.safetensors and config.json.

The files are the bytes that the safetensors library writes for transformers: arrays by the width of
their type, then by name, and the metadata {"format": "pt"}. They are written array by array, so
that no more than one of them is on the host.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import DTypeLike

from jaxmodels.errors import InputError
from jaxmodels.files import whole_folder, write_atomically, write_json
from jaxmodels.pretrained.bytes_of_files import size_of
from jaxmodels.pretrained.names import Entry, Published, name_of
from jaxmodels.pretrained.safetensors_files import DTYPES
from jaxmodels.protocol import PyTree

WEIGHTS, CONFIG = "model.safetensors", "config.json"
LARGEST_SHARD = 5 * 10**9  # bytes, as in transformers
_CODES = {dtype: code for code, dtype in DTYPES.items()}
# The library's order of types, the widest first.
_ORDER = [*("U64", "I64", "F64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16")]
_ORDER += [*("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL")]


class Written(NamedTuple):
    """An array to write.

    make: makes it of our arrays by their paths.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[Mapping[str, Any]], np.ndarray]

    @property
    def size(self) -> int:
        """Its bytes."""
        return size_of(self.shape) * self.dtype.itemsize


def save(
    folder: Path,
    tree: PyTree,
    published: Published,
    config: Mapping[str, Any],
    *,
    dtype: DTypeLike | None = None,
    beside: Callable[[Path], object] | None = None,
    largest_shard: int = LARGEST_SHARD,
) -> None:
    """Writes a folder with the weights and the config.json of a model; it appears as a whole.

    tree: the model's variables, of any kind of array.
    dtype: of the arrays of floats in the files; None: as in the tree.
    beside: writes other files into the folder, such as a tokenizer's.
    largest_shard: bytes of arrays above which they are spread over several files.

    Raises:
      InputError: the table of names and the tree do not fit; the folder exists or cannot be made.
    """
    arrays = flatten_dict(tree, sep="/")
    shards = _sharded(_written(arrays, published, dtype), largest_shard)
    if folder.exists():
        raise InputError(f"{folder} exists; name a folder that is to be made")
    try:
        with whole_folder(folder) as partial_folder:
            partial_folder.chmod(0o755)  # others are to read it
            for name, parts in shards.items():
                write_atomically(partial_folder / name, partial(_write, parts, arrays))
            if len(shards) > 1:
                _write_index(partial_folder, shards)
            write_json(partial_folder / CONFIG, dict(config), indent=2)
            if beside is not None:
                beside(partial_folder)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None


def save_file(
    path: Path, tree: PyTree, published: Published, *, dtype: DTypeLike | None = None
) -> None:
    """Writes one .safetensors file; see `save`."""
    arrays = flatten_dict(tree, sep="/")
    write_atomically(path, partial(_write, _written(arrays, published, dtype), arrays))


def _written(
    arrays: Mapping[str, Any], published: Published, dtype: DTypeLike | None
) -> list[Written]:
    """Describes what is to be written, in the order of the table.

    Raises:
      InputError: the table and the arrays do not fit.
    """
    named = [path for entry in published.entries for path in entry.paths]
    lost, unknown = set(named) - arrays.keys(), arrays.keys() - set(named)
    if lost or unknown:
        told = [f"lacks {', '.join(sorted(lost))}"] * bool(lost)
        told += [f"has {', '.join(sorted(unknown))}, for which there is no name"] * bool(unknown)
        raise InputError(f"the model {' and '.join(told)}; expected what its table of names has")
    written = []
    for entry in published.entries:
        parts = [arrays[path] for path in entry.paths]
        # Of hollow arrays, which tell the shape without a copy.
        hollow = [np.broadcast_to(np.zeros((), np.int8), part.shape) for part in parts]
        is_float = jnp.issubdtype(parts[0].dtype, jnp.floating)
        kind = np.dtype(dtype if is_float and dtype is not None else parts[0].dtype)
        shape = tuple(entry.layout.outward(*hollow).shape)
        name = name_of(entry, published.prefixes[0])
        written.append(Written(name, shape, kind, partial(_outward, entry)))
    for name, array in published.constants.items():
        name = published.prefixes[0] + name
        written.append(Written(name, array.shape, array.dtype, lambda _, array=array: array))
    return written


def _outward(entry: Entry, arrays: Mapping[str, Any]) -> np.ndarray:
    return entry.layout.outward(*(np.asarray(arrays[path]) for path in entry.paths))


def _sharded(arrays: Sequence[Written], largest: int) -> dict[str, list[Written]]:
    """Spreads arrays over files, filling one after another."""
    shards: list[list[Written]] = [[]]
    for array in arrays:
        if shards[-1] and sum(other.size for other in shards[-1]) + array.size > largest:
            shards.append([])
        shards[-1].append(array)
    if len(shards) == 1:
        return {WEIGHTS: shards[0]}
    count = len(shards)
    return {f"model-{i:05d}-of-{count:05d}.safetensors": s for i, s in enumerate(shards, 1)}


def _write_index(folder: Path, shards: Mapping[str, Sequence[Written]]) -> None:
    places = {array.name: name for name, arrays in shards.items() for array in arrays}
    total = sum(array.size for arrays in shards.values() for array in arrays)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    write_json(folder / f"{WEIGHTS}.index.json", index, indent=2)


def _write(written: Sequence[Written], arrays: Mapping[str, Any], file: BinaryIO) -> None:
    """Writes a .safetensors file."""
    ordered = sorted(written, key=lambda array: (_ORDER.index(_CODES[array.dtype]), array.name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for array in ordered:
        start, end = end, end + array.size
        header[array.name] = {
            "dtype": _CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for array in ordered:
        values = np.ascontiguousarray(array.make(arrays), array.dtype)
        file.write(values.reshape(-1).view(np.uint8).data)
