"""Pictures without labels, to predict for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.images.arrays import read_arrays
from jaxmodels.data.images.crops import central_crop
from jaxmodels.data.images.decoding import decode_image
from jaxmodels.data.images.folder import EXTENSIONS
from jaxmodels.data.images.image_data import ImageData
from jaxmodels.errors import InputError


def read_pictures(
    path: Any, data: ImageData, size: int = 0
) -> Iterator[tuple[str, dict[str, np.ndarray] | BadRecord]]:
    """Yields name and columns, as `data` has them, of one picture, or of all in a folder and the
    folders below, sorted by path. For a picture that cannot be used, a BadRecord takes the place of
    its columns.

    path: arrays in its place go to `read_arrays`. size: side of the square that a model's pictures
      are cut to; 0: they are of one size.

    Raises:
      InputError: no such path, or a folder without pictures.
    """
    if not isinstance(path, Path):
        yield from read_arrays(path, data, size)
        return
    if not path.exists():
        raise InputError(f"input {path} does not exist; expected a picture or a folder of some")
    paths = [path] if path.is_file() else sorted(path.rglob("*"))
    paths = [p for p in paths if p.is_file() and p.suffix.lower() in EXTENSIONS]
    if not paths:
        raise InputError(f"input {path} has no picture; expected {', '.join(EXTENSIONS)}")
    for each in paths:
        name = each.name if path.is_file() else each.relative_to(path).as_posix()
        try:
            yield name, {"image": _read(each, data, size)}
        except BadRecord as error:
            yield name, error


def _read(path: Path, data: ImageData, size: int) -> np.ndarray:
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise BadRecord(f"cannot be read: {error.strerror}", "unreadable") from None
    kind = data.pixels.channels, data.dtype
    if size:
        return central_crop(encoded, size, *kind)
    image = decode_image(encoded, *kind)
    if image.shape != data.shape:
        expected = data.shape or "a size that --image-size names"
        raise BadRecord(f"has shape {image.shape}; expected {expected}", "size")
    return image
