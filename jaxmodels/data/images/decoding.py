"""Decoding of picture files (PNG, JPEG, BMP, WebP, ...) to arrays."""

import os
from threading import Lock

import numpy as np
from jaxtyping import Shaped

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.images.chunks import png_chunks
from jaxmodels.data.images.orientation import UPRIGHT, orientation_of, upright

_JPEG = b"\xff\xd8"
_MOST_PIXELS = 2**27

_lock = Lock()
_modules = []


def opencv():
    """Imports the module cv2, set up to be called from many threads."""
    if not _modules:
        with _lock:  # without it, a second thread could use the module half imported
            # A damaged header may ask for gigabytes; the module reads the limit when it is loaded.
            os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MOST_PIXELS))
            import cv2

            # Our own threads decode in parallel; threads inside cv2 would compete for the cores.
            cv2.setNumThreads(1)
            # BadRecord says already what is wrong with a picture.
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            _modules.append(cv2)
    return _modules[0]


def decode_image(
    encoded: bytes, channels: int | None = None, dtype: np.dtype | type | None = None
) -> Shaped[np.ndarray, "height width channels"]:
    """Decodes the pixels in the order RGB (RGBA), turned upright by the orientation of EXIF.

    channels: 1, 3 or 4; None: as stored. For 3 and 4, a grey channel is repeated. For 3, an alpha
      channel that is opaque everywhere is dropped; for 4, one is added. Nothing else is converted.
    dtype: uint8, uint16, or float32 (as in a TIFF, or as tfds stores it: the four bytes of a number
      as the channels of an RGBA picture); None: as stored.

    Raises:
      BadRecord: it is no picture, is broken, or has other channels or another type.
    """
    cv2 = opencv()
    is_float = dtype is not None and np.dtype(dtype) == np.float32
    if channels == 3 and is_jpeg(encoded):
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        image = decode_with(encoded, flags)  # JPEG has no alpha channel to lose
    else:
        image = _in_rgb_order(decode_with(encoded, cv2.IMREAD_UNCHANGED))  # not turned either
    if (orientation := orientation_of(encoded)) != UPRIGHT:
        image = upright(image, orientation)
    if is_float and image.dtype == np.uint8:
        if image.shape[2] != 4:
            raise BadRecord(f"has {image.shape[2]} channels; expected 4", "channels")
        image = np.ascontiguousarray(image).view(np.float32)
    else:
        image = _with_channels(image, channels)
    if dtype is not None and image.dtype != dtype:
        raise BadRecord(f"has pixels of type {image.dtype}; expected {np.dtype(dtype)}", "type")
    return image


def is_jpeg(encoded: bytes) -> bool:
    """Recognises a JPEG by its first bytes."""
    return encoded[:2] == _JPEG


def decode_with(encoded: bytes, flags: int) -> Shaped[np.ndarray, "height width *channels"]:
    """Decodes a picture by cv2.imdecode with these flags.

    Raises:
      BadRecord: it is no picture, or is broken.
    """
    cv2 = opencv()
    if not encoded:
        raise BadRecord("is empty")
    if _is_cut(encoded):
        raise BadRecord("cannot be decoded as an image")
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except cv2.error as error:  # too many pixels, say
        raise BadRecord(f"cannot be decoded as an image: {error.err}") from None
    if image is None:
        raise BadRecord("cannot be decoded as an image")
    return image


def _is_cut(encoded: bytes) -> bool:
    """Whether a chunk of a PNG ends behind the file: the library would ask for as much memory as a
    damaged length says, up to four gigabytes."""
    last = next((c for c in png_chunks(encoded) if c.name == b"IEND" or c.end > len(encoded)), None)
    return last is not None and last.name != b"IEND"


def _in_rgb_order(image: np.ndarray) -> np.ndarray:
    cv2 = opencv()
    if image.ndim == 2:
        return image[..., None]
    orders = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    return cv2.cvtColor(image, orders[image.shape[2]]) if image.shape[2] in orders else image


def _with_channels(image: np.ndarray, channels: int | None) -> np.ndarray:
    found = image.shape[2]
    if channels in (None, found):
        return image
    if channels in (3, 4) and found == 1:
        image, found = np.repeat(image, 3, axis=2), 3
        if channels == 3:
            return image
    opaque = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1.0
    if channels == 4 and found == 3:
        return np.pad(image, ((0, 0), (0, 0), (0, 1)), constant_values=opaque)
    if channels == 3 and found == 4:
        if (image[..., 3] == opaque).all():
            return np.ascontiguousarray(image[..., :3])
        raise BadRecord("has transparent pixels; expected 3 opaque channels", "channels")
    raise BadRecord(f"has {found} channels; expected {channels}", "channels")
