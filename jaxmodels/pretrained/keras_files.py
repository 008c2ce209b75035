"""Reads and writes the weights of Keras 3 without it: NAME.weights.h5, and NAME.keras, a zip file
of such a file and of the model's graph as JSON.

An array lies at "layers/CLASS_NUMBER/vars/PLACE": classes in small letters, numbered in the order
in which the model has its layers, whatever their names are. Kernels and images are in the order
that is ours. Reading needs h5py, and executes nothing of what a file describes.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxmodels.errors import InputError
from jaxmodels.files import write_atomically
from jaxmodels.pretrained.names import Entry, Published
from jaxmodels.pretrained.weights import Stored, readable

WHOLE, ALONE = ".keras", ".h5"  # with the graph, and without
_ARRAYS, _GRAPH = "model.weights.h5", "config.json"
_VERSION = "3.10.0"  # whose form is written


class KerasLayer(NamedTuple):
    """A layer of a graph.

    kind: the class in Keras. options: the arguments of the class. inputs: names of layers.
    arrays: paths of ours that fill its variables, in their order.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    inputs: tuple[str, ...]
    arrays: tuple[str, ...] = ()


class KerasGraph:
    """A graph of layers that is being made, in the order in which Keras walks it from its output:
    of the inputs of a sum the first before the others.

    shape: of one input; None: any length.
    """

    def __init__(self, name: str, shape: Sequence[int | None]):
        self.name, self._counts = name, {}
        options = {"batch_shape": [None, *shape], "dtype": "float32"}
        self.layers = [KerasLayer("input_layer", "InputLayer", options, ())]

    def add(
        self, kind: str, *inputs: str, arrays: Sequence[str] = (), like: str = "", **options: Any
    ) -> str:
        """Adds a layer on others, by default on the last one, and returns its name.

        like: the name of the class in small letters, which that of its arrays is made of.
        """
        like = like or kind.lower()
        number = self._counts[like] = self._counts.get(like, -1) + 1
        name = f"{like}_{number}" if number else like
        inputs = inputs or (self.layers[-1].name,)
        self.layers.append(KerasLayer(name, kind, options, inputs, tuple(arrays)))
        return name

    def convolution(self, path: str, width: int, size: int, *inputs: str, **options: Any) -> str:
        """Adds a convolution; path: of ours, "params/Conv_0"."""
        arrays = [f"{path}/kernel", *[f"{path}/bias"] * options.get("use_bias", True)]
        sizes = {"filters": width, "kernel_size": [size, size]}
        return self.add("Conv2D", *inputs, arrays=arrays, **sizes, **options)

    def batch_norm(self, path: str, epsilon: float) -> str:
        """Adds a BatchNorm; path: of ours, without the collection."""
        arrays = [f"params/{path}/{name}" for name in ("scale", "bias")]
        arrays += [f"batch_stats/{path}/{name}" for name in ("mean", "var")]
        like = "batch_normalization"
        return self.add("BatchNormalization", arrays=arrays, like=like, epsilon=epsilon)

    def dense(self, path: str, width: int) -> str:
        """Adds a linear layer; path: of ours."""
        arrays = [f"{path}/kernel", f"{path}/bias"]
        return self.add("Dense", arrays=arrays, units=width)

    def published(self) -> Published:
        """Makes the table of names of the graph's arrays."""
        entries = [
            Entry(f"layers/{layer.name}/vars/{place}", (path,))
            for layer in self.layers
            for place, path in enumerate(layer.arrays)
        ]
        # States of optimisers, metrics and generators of random numbers.
        return Published(tuple(entries), ignored=(r"^(?!layers/)", r"/seed_generator/"))


def open_keras(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Opens the arrays of a file, and the graph beside them as the fact "keras", if there is one.

    Raises:
      InputError: a damaged file, or h5py is not installed.
    """
    with readable(path, "Keras's"):
        facts = {}
        if path.suffix == WHOLE:
            with zipfile.ZipFile(path) as archive:
                if _ARRAYS not in archive.namelist():
                    raise ValueError(f"it has no {_ARRAYS}")
                facts["keras"] = json.loads(archive.read(_GRAPH))
        return _arrays_in(path), facts


def layers_in(facts: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Lists the options of all layers of a kind in the graph of a file; none without a graph."""
    config = (facts.get("keras") or {}).get("config") or {}
    layers = config.get("layers") or []
    return [layer["config"] for layer in layers if layer.get("class_name") == kind]


def _arrays_in(path: Path) -> dict[str, Stored]:
    found: dict[str, Stored] = {}

    def look_at(name: str, item: Any) -> None:
        if hasattr(item, "dtype") and hasattr(item, "shape"):
            if item.external or item.is_virtual:  # it could lead to any file
                raise ValueError(f"{name} lies in another file")
            stored = Stored(tuple(item.shape), np.dtype(item.dtype), partial(_read, path, name))
            found[name] = stored

    with _opened(path) as file:
        file.visititems(look_at)
    return found


def _read(path: Path, name: str) -> np.ndarray:
    with readable(path, "Keras's"), _opened(path) as file:
        return np.asarray(file[name])


def _opened(path: Path) -> Any:
    h5py = _library(path)
    if path.suffix != WHOLE:
        return h5py.File(path, "r")
    with zipfile.ZipFile(path) as archive:
        return h5py.File(io.BytesIO(archive.read(_ARRAYS)), "r")


def _library(path: Path) -> Any:
    try:
        import h5py
    except ModuleNotFoundError:
        raise InputError(
            f"{path}: Keras's files are read and written by h5py, which is not installed: pip"
            " install -e '.[keras]'"
        ) from None
    return h5py


def save_keras(path: Path, graph: KerasGraph, arrays: Mapping[str, Any]) -> None:
    """Writes a model: NAME.keras with its graph, or its weights alone as NAME.weights.h5.

    arrays: ours, by their paths.

    Raises:
      InputError: another ending, the file exists or cannot be written, or h5py is not installed.
    """
    if not path.name.endswith((WHOLE, f".weights{ALONE}")):
        raise InputError(f"output = {path}; expected NAME{WHOLE} or NAME.weights{ALONE}")
    if path.exists():
        raise InputError(f"{path} exists; name a file that is to be made")
    content = _arrays_of(_library(path), graph, arrays)
    is_whole = path.suffix == WHOLE
    try:
        write_atomically(path, partial(_write, graph if is_whole else None, content))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def _arrays_of(h5py: Any, graph: KerasGraph, arrays: Mapping[str, Any]) -> bytes:
    """Makes the content of a file of arrays."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for layer in graph.layers:
            group = file.create_group(f"layers/{layer.name}/vars")
            group.attrs["name"] = layer.name
            for place, path in enumerate(layer.arrays):
                group.create_dataset(str(place), data=np.asarray(arrays[path], np.float32))
    return memory.getvalue()


def _write(graph: KerasGraph | None, content: bytes, file: BinaryIO) -> None:
    if graph is None:
        file.write(content)
        return
    with zipfile.ZipFile(file, "w") as archive:
        metadata = {"keras_version": _VERSION, "date_saved": "1980-01-01@00:00:00"}
        for name, part in (("metadata.json", metadata), (_GRAPH, _graph_as_json(graph))):
            archive.writestr(zipfile.ZipInfo(name), json.dumps(part))
        archive.writestr(zipfile.ZipInfo(_ARRAYS), content)


def _graph_as_json(graph: KerasGraph) -> dict[str, Any]:
    """Describes a graph as `keras.Model.get_config` does."""
    ends = [[graph.layers[place].name, 0, 0] for place in (0, -1)]
    config = {
        "name": graph.name,
        "trainable": True,
        "layers": [_layer_as_json(layer) for layer in graph.layers],
        "input_layers": ends[0],
        "output_layers": ends[1],
    }
    named = {"module": "keras.src.models.functional", "class_name": "Functional"}
    return {**named, "config": config, "registered_name": "Functional"}


def _layer_as_json(layer: KerasLayer) -> dict[str, Any]:
    tensors = [
        {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None], "dtype": "float32", "keras_history": [name, 0, 0]},
        }
        for name in layer.inputs
    ]
    args = [tensors] if len(tensors) > 1 else tensors
    return {
        "module": "keras.layers",
        "class_name": layer.kind,
        "config": {"name": layer.name, **layer.options},
        "registered_name": None,
        "name": layer.name,
        "inbound_nodes": [{"args": args, "kwargs": {}}] if layer.inputs else [],
    }
