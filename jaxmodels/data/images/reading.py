"""Pictures without labels, as a prediction is asked for."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.images.crops import central_crop
from jaxmodels.data.images.decoding import decode_image
from jaxmodels.data.images.folder import EXTENSIONS, read_picture
from jaxmodels.data.images.image_data import ImageData
from jaxmodels.data.kinds import count_endings, told_endings
from jaxmodels.data.walking import walk
from jaxmodels.errors import InputError


def read_pictures(
    path: Path, data: ImageData, size: int = 0
) -> Iterator[tuple[str, dict[str, np.ndarray] | BadRecord]]:
    """Gives name and columns of each picture that a path names, as `data` has them: one file, or
    all in a folder, whatever lies how deep, by their paths. A picture that cannot be used is a
    BadRecord in place of its columns.

    size: side of the square that a model's pictures are cut to; 0: they are of one size.

    Raises:
      InputError: no such path, or a folder without pictures.
    """
    for name, file in _pictures(path).items():
        try:
            yield name, {"image": _read(file, data, size)}
        except BadRecord as error:
            yield name, error


def _pictures(path: Path) -> dict[str, Path]:
    """The files of pictures by their names, in their order."""
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
        found = f". It has {told_endings(count_endings(files))}" if files else ""
        found += f". Skipped: {', '.join(skipped[:3])}" if skipped else ""
        raise InputError(f"input {path} has no picture; expected {', '.join(EXTENSIONS)}{found}")
    for what in skipped:
        print(f"note: input {path}: skipped {what}", file=sys.stderr)
    # By their paths part by part, as pathlib orders them.
    return {name: folder / name for name in sorted(pictures, key=lambda name: name.split("/"))}


def _read(path: Path, data: ImageData, size: int) -> np.ndarray:
    encoded = read_picture(path)
    kind = data.pixels.channels, data.dtype
    if size:
        return central_crop(encoded, size, *kind)
    image = decode_image(encoded, *kind)
    if image.shape != data.shape:
        expected = data.shape or "a size that --image-size names"
        raise BadRecord(f"has shape {image.shape}; expected {expected}", "size")
    return image
