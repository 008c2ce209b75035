"""Pictures without labels, to predict for."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.images.arrays import read_arrays
from jaxmodels.data.images.crops import central_crop, central_crop_of
from jaxmodels.data.images.decoding import decode_image, opencv
from jaxmodels.data.images.folder import EXTENSIONS, how_to_convert, read_picture
from jaxmodels.data.images.image_data import ImageData
from jaxmodels.data.images.resize import resize_image, resize_to
from jaxmodels.data.kinds import count_endings, told_endings
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError


def read_pictures(
    path: Any, data: ImageData, size: int = 0
) -> Iterator[tuple[str, dict[str, np.ndarray] | BadRecord]]:
    """Yields name and columns, as `data` has them, of one picture, or of all in a folder and the
    folders below, sorted by path. For a picture that cannot be used, a BadRecord takes the place of
    its columns. Those of another size than all of `data` are resized, coloured ones are made grey
    where these are, and they are scaled where these are arrays of a smaller range.

    path: arrays in its place go to `read_arrays`. size: side of the square that a model's pictures
      are cut to; 0: they are of one size.

    Raises:
      InputError: no such path, or a folder without pictures.
    """
    if not isinstance(path, Path):
        yield from read_arrays(path, data, size)
        return
    noted: set[str] = set()
    for name, file in pictures_at(path).items():
        try:
            image, changed = _read(file, data, size)
        except BadRecord as error:
            yield name, error
            continue
        if changed and changed not in noted:
            noted.add(changed)
            told = f"note: input {path}: pictures like {name} are {changed}, as the run's are"
            print(told, file=sys.stderr)
        yield name, {"image": image}


def pictures_at(path: Path) -> dict[str, Path]:
    """Finds the files of pictures by their names, in their order."""
    if not os.path.exists(path):
        raise InputError(f"input {path} does not exist; expected a picture or a folder of some")
    if not os.path.isdir(path):
        files, skipped = ([path.name], []) if os.path.isfile(path) else ([], [str(path)])
        folder = path.parent
    else:
        walked = walk(path)
        files, skipped, folder = sorted(walked.files), walked.skipped, path
    pictures = [name for name in files if name.lower().endswith(EXTENSIONS)]
    if not pictures:
        found = ""
        if files:
            found = f". It has {told_endings(count_endings(files))}: {how_to_convert(files)}"
        found += f". Skipped: {', '.join(skipped[:3])}" if skipped else ""
        raise InputError(f"input {path} has no picture; expected {', '.join(EXTENSIONS)}{found}")
    for what in skipped:
        print(f"note: input {path}: skipped {what}", file=sys.stderr)
    # The order is that of pathlib, which compares paths part by part.
    return {name: folder / name for name in sorted(pictures, key=lambda name: name.split("/"))}


def _read(path: Path, data: ImageData, size: int) -> tuple[np.ndarray, str]:
    """Returns the pixels of a picture as `data` has them, and what that changed; "" for nothing."""
    encoded, changes = read_picture(path), []
    channels, dtype = data.pixels.channels, data.dtype
    try:
        if size:
            return central_crop(encoded, size, channels, dtype), ""
        image = decode_image(encoded, channels, dtype)
    except BadRecord as error:
        if channels != 1 or error.kind != "channels":
            raise
        image = _grey(decode_image(encoded, 3, dtype))
        changes.append("made grey")
    if size:
        image = central_crop_of(image, size)
    elif data.image_size:
        image = resize_image(image, data.image_size)
    elif data.shape is None:
        raise BadRecord(f"has shape {image.shape}; expected a size that --image-size names", "size")
    elif image.shape != data.shape:
        image = resize_to(image, *data.shape[:2])
        changes.append(f"resized to {data.shape[0]}x{data.shape[1]} pixels")
    if _is_brighter(image, data):
        image = np.round(image * (data.white / np.iinfo(dtype).max)).astype(dtype)
        changes.append(f"scaled to 0..{data.white:g}")
    return image, " and ".join(changes)


def _is_brighter(image: np.ndarray, data: ImageData) -> bool:
    """Whether a picture has the range of its type, and the arrays of the run only a small part of
    it, as the embedded digits, whose white is 16."""
    if data.is_encoded or data.dtype.kind != "u" or image.max() <= data.white:
        return False
    return data.white < np.iinfo(data.dtype).max / 2


def _grey(image: np.ndarray) -> np.ndarray:
    return opencv().cvtColor(image, opencv().COLOR_RGB2GRAY)[..., None]
