"""The orientation of EXIF: how a camera was held, and pictures turned upright by it."""

import struct
from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

from jaxmodels.data.images.chunks import png_chunks, webp_chunks

UPRIGHT = 1
_TAG = 0x0112
_EXIF = b"Exif\0\0"


def orientation_of(encoded: bytes) -> int:
    """Reads the orientation, 1 to 8, of a JPEG, PNG or WebP; 1 (upright) where none is said.

    OpenCV turns a TIFF itself, and other kinds have no orientation of EXIF.
    """
    for block in _blocks(encoded):
        found = _orientation_in(block.removeprefix(_EXIF))
        if found is not None:
            return found
    return UPRIGHT


def upright(
    image: Shaped[np.ndarray, "height width *channels"], orientation: int
) -> Shaped[np.ndarray, "rows columns *channels"]:
    """Turns and mirrors a picture as its orientation says."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def upright_sides(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Returns height and width of a stored picture once it is turned."""
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def _blocks(encoded: bytes) -> Iterator[bytes]:
    """Yields the blocks of a file that may hold EXIF. It stops where the file is broken."""
    try:
        if encoded[:2] == b"\xff\xd8":
            yield from _segments(encoded)
        for chunk in (*png_chunks(encoded), *webp_chunks(encoded)):
            if chunk.name in (b"eXIf", b"EXIF"):
                yield encoded[chunk.start : chunk.end]
    except (struct.error, IndexError):
        return


def _segments(encoded: bytes) -> Iterator[bytes]:
    """Yields the EXIF segments in front of the pixels of a JPEG."""
    at = 2
    while encoded[at] == 0xFF and encoded[at + 1] != 0xDA:
        if encoded[at + 1] == 0xFF:  # a byte that fills
            at += 1
            continue
        (length,) = struct.unpack_from(">H", encoded, at + 2)
        if encoded[at + 1] == 0xE1 and encoded.startswith(_EXIF, at + 4):
            yield encoded[at + 4 : at + 2 + length]
        at += 2 + length


def _orientation_in(block: bytes) -> int | None:
    """Reads the orientation in the first directory of EXIF; None: it says none that is valid."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", block, entry)
            if tag == _TAG:
                return value if 1 <= value <= 8 else None
    except struct.error:
        pass
    return None
