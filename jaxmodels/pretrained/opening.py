"""Opens published weights in whatever format and folder they come."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxmodels.errors import InputError
from jaxmodels.files import read_json
from jaxmodels.pretrained.safetensors_files import open_safetensors
from jaxmodels.pretrained.weights import Stored, Weights

_READERS: dict[str, Callable[[Path], dict[str, Stored]]] = {".safetensors": open_safetensors}
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
    else:
        arrays, files = _read(file), (file,)
    return Weights(path, arrays, _config_beside(file), files)


def _within(folder: Path) -> Path:
    files = [folder / name for name in _IN_FOLDERS if (folder / name).is_file()]
    files = files or [path for path in sorted(folder.iterdir()) if path.suffix in _READERS]
    if not files:
        raise InputError(
            f"{folder} holds no weights; expected {', '.join(_IN_FOLDERS)}, or a file"
            f" {' '.join(sorted(_READERS))}"
        )
    if files[0].name not in _IN_FOLDERS and len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"{folder} holds several files of weights: {names}; name the one meant")
    return files[0]


def _read(file: Path) -> dict[str, Stored]:
    if file.suffix not in _READERS:
        raise InputError(
            f"{file} has suffix '{file.suffix}'; expected {' '.join(sorted(_READERS))}"
        )
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
            for array, stored in _read(index.parent / name).items()
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
