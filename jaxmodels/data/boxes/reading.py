"""Pictures without boxes, to predict for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmodels.data.boxes.box_data import BoxData
from jaxmodels.data.boxes.decoder import letterboxed
from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.images.folder import read_picture
from jaxmodels.data.images.reading import pictures_at


def read_pictures(
    path: Any, data: BoxData
) -> Iterator[tuple[str, dict[str, np.ndarray] | BadRecord]]:
    """Yields name and columns, letterboxed as those of `data`, of one picture, or of all in a
    folder and the folders below, sorted by path. For a picture that cannot be used, a BadRecord
    takes the place of its columns.

    path: in its place, pictures in memory: arrays [height, width, 3] of any sizes.

    Raises:
      InputError: no such path, or a folder without pictures.
    """
    if not isinstance(path, Path):
        for row, image in enumerate(path):
            try:
                yield str(row), letterboxed(np.asarray(image), data.canvas)
            except BadRecord as error:
                yield str(row), error
        return
    for name, file in pictures_at(path).items():
        try:
            yield name, letterboxed(read_picture(file), data.canvas)
        except BadRecord as error:
            yield name, error
