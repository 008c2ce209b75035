"""Opens published weights in whatever format and folder they come."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.files import read_json
from jaxmodels.pretrained.ctranslate2 import open_ctranslate2
from jaxmodels.pretrained.gguf_files import open_gguf
from jaxmodels.pretrained.keras_files import open_keras
from jaxmodels.pretrained.npz import open_npz
from jaxmodels.pretrained.safetensors_files import open_safetensors
from jaxmodels.pretrained.torch_files import open_torch
from jaxmodels.pretrained.weights import Stored, Weights, readable

Read = tuple[dict[str, Stored], dict[str, Any]]  # arrays, and facts that stand beside them


def _open_bin(path: Path) -> Read:
    """Tells by the first number, a version, whether CTranslate2 or torch wrote a .bin file."""
    with readable(path, "weights"), open(path, "rb") as file:
        version = int.from_bytes(file.read(4), "little")
    return open_ctranslate2(path) if 0 < version < 256 else (open_torch(path), {})


_READERS: dict[str, Callable[[Path], Read]] = {
    ".safetensors": lambda path: (open_safetensors(path), {}),
    ".npz": lambda path: (open_npz(path), {}),
    ".gguf": open_gguf,
    ".bin": _open_bin,
    ".pt": lambda path: (open_torch(path), {}),
    ".pth": lambda path: (open_torch(path), {}),
    ".ckpt": lambda path: (open_torch(path), {}),
    ".keras": open_keras,
    ".h5": open_keras,
}
SUFFIXES = tuple(_READERS)
# What a folder may hold, the best first.
_IN_FOLDERS = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "model.bin",
)


def open_weights(path: str | Path) -> Weights:
    """Opens a file of weights or the folder that holds them, reading headers only.

    Raises:
      InputError: nothing is there, the format is unknown, or the file is damaged; one line.
    """
    path = Path(path).expanduser()
    file = _within(path) if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{path} does not exist; expected a file or folder of weights")
    if file.name.endswith(".index.json"):
        arrays, files = _sharded(file)
        facts = {}
    else:
        (arrays, facts), files = _read(file), (file,)
    return Weights(path, arrays, {**_config_beside(file), **facts}, files)


def _within(folder: Path) -> Path:
    files = [folder / name for name in _IN_FOLDERS if (folder / name).is_file()]
    files = files or [path for path in sorted(folder.iterdir()) if path.suffix in _READERS]
    if not files:
        raise InputError(
            f"{folder} holds no weights; expected {', '.join(_IN_FOLDERS)}, or a file"
            f" {' '.join(SUFFIXES)}"
        )
    if files[0].name not in _IN_FOLDERS and len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"{folder} holds several files of weights: {names}; name the one meant")
    return files[0]


def _read(file: Path) -> Read:
    if file.suffix not in _READERS:
        raise InputError(f"{file} has suffix '{file.suffix}'; expected {' '.join(SUFFIXES)}")
    return _READERS[file.suffix](file)


def _sharded(index: Path) -> tuple[dict[str, Stored], tuple[Path, ...]]:
    """Opens the shards that an index names, which hold exactly what it says."""
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(at, str) for at in places.values()):
        raise InputError(f"{index} is no index of shards; expected a 'weight_map' of file names")
    names = sorted(set(places.values()))
    arrays: dict[str, Stored] = {}
    for name in names:
        # A path could lead anywhere.
        if Path(name).name != name or not (index.parent / name).is_file():
            raise InputError(f"{index} names the shard {name!r}, which does not lie beside it")
        arrays |= {
            array: stored
            for array, stored in _read(index.parent / name)[0].items()
            if places.get(array) == name
        }
    lost = sorted(places.keys() - arrays.keys())
    if lost:
        raise InputError(
            f"{index}: {lost[0]} is not in its shard {places[lost[0]]}; expected all of"
            f" {len(places)} arrays, {len(lost)} are lacking"
        )
    return arrays, tuple(index.parent / name for name in names)


def _config_beside(file: Path) -> Mapping[str, Any]:
    path = file.parent / "config.json"
    if not path.is_file():
        return {}
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path} is not readable as JSON; expected the sizes of the model")
    return config
