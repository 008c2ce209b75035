"""Pictures to arrays."""

import io
import resource

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxmodels.data import BadRecord
from jaxmodels.data.images import decode_image
from tests.tfds_folder import example, png, write_image_dataset


def _smooth(channels, height=48, width=37):
    waves = np.sin(np.linspace(0, 6, height))[:, None, None] + np.cos(
        np.linspace(0, 9, width)[:, None] + np.arange(channels)
    )
    return np.clip(128 + 60 * waves, 0, 255).astype(np.uint8)


def _file(image, kind, **options):
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "channels"),
    [("PNG", 1), ("PNG", 3), ("PNG", 4), ("BMP", 1), ("BMP", 3), ("WEBP", 3), ("WEBP", 4)],
)
def test_pixels_are_those_written_in_the_order_rgb(kind, channels):
    image = _smooth(channels)
    encoded = _file(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    for found in (decode_image(encoded, channels, np.uint8), decode_image(encoded)):
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_near_pillows(channels):
    encoded = _file(_smooth(channels), "JPEG", quality=90)
    expected = np.asarray(Image.open(io.BytesIO(encoded))).reshape(48, 37, channels)
    found = decode_image(encoded, channels, np.uint8)
    assert np.abs(found.astype(int) - expected).max() <= 2
    np.testing.assert_array_equal(decode_image(encoded), found)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_grey_picture_among_coloured_ones_has_three_equal_channels(kind):
    encoded = _file(_smooth(1), kind)
    expected = np.repeat(decode_image(encoded, 1), 3, axis=2)
    np.testing.assert_array_equal(decode_image(encoded, 3), expected)


def test_only_an_opaque_alpha_channel_is_dropped():
    image = _smooth(4)
    image[..., 3] = 255
    np.testing.assert_array_equal(decode_image(_file(image, "PNG"), 3), image[..., :3])
    image[5, 6, 3] = 254
    with pytest.raises(BadRecord, match="transparent"):
        decode_image(_file(image, "PNG"), 3)


def test_an_opaque_alpha_channel_is_added_where_others_have_one():
    for channels in (1, 3):
        encoded = _file(_smooth(channels), "PNG")
        found = decode_image(encoded, 4)
        np.testing.assert_array_equal(found[..., :3], decode_image(encoded, 3))
        assert (found[..., 3] == 255).all()
    # Numbers of four bytes are no picture that may be given some.
    with pytest.raises(BadRecord, match="has 3 channels; expected 4"):
        decode_image(_file(_smooth(3), "PNG"), 1, np.float32)


def test_16_bit_pictures():
    image = np.random.default_rng(0).integers(0, 1 << 16, (6, 5, 3)).astype(np.uint16)
    encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(decode_image(encoded, 3, np.uint16), image)
    grey = cv2.imencode(".png", image[..., 0])[1].tobytes()
    np.testing.assert_array_equal(decode_image(grey, 1, np.uint16), image[..., :1])
    with pytest.raises(BadRecord, match="type uint16; expected uint8"):
        decode_image(encoded, 3, np.uint8)


def test_float_pictures_are_four_bytes_a_pixel():
    image = np.random.default_rng(0).normal(0, 1e3, (6, 5, 1)).astype(np.float32)
    encoded = _file(image.view(np.uint8), "PNG")
    np.testing.assert_array_equal(decode_image(encoded, 1, np.float32), image)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_is_what_tfds_decodes(tmp_path, dtype):
    images = np.random.default_rng(1).integers(0, 256, (5, 7, 6, 4)).astype(np.uint8)
    shape = (7, 6, 1) if dtype == "float32" else (7, 6, 4)
    records = [example(png(image)) for image in images]
    folder = write_image_dataset(tmp_path, "theirs", {"train": records}, shape=shape, dtype=dtype)
    theirs = tfds.builder_from_directory(folder).as_data_source("train")
    for image, row in zip(images, theirs):
        found = decode_image(png(image), shape[-1], np.dtype(dtype))
        assert found.dtype == row["image"].dtype
        assert found.tobytes() == np.ascontiguousarray(row["image"]).tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_broken_files_are_bad_records(kind):
    encoded = _file(_smooth(3), kind)
    for broken in (b"", b"no picture", encoded[: len(encoded) // 2], encoded[:-30]):
        with pytest.raises(BadRecord, match=r"cannot be decoded as an image|is empty"):
            decode_image(broken, 3, np.uint8)


@pytest.mark.parametrize(("has", "expected"), [(3, 1), (4, 1)])
def test_other_channels_are_bad_records(has, expected):
    with pytest.raises(BadRecord, match=f"has {has} channels; expected {expected}"):
        decode_image(_file(_smooth(has), "PNG"), expected)


def test_a_damaged_length_in_a_png_is_no_reason_for_gigabytes():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    encoded = bytearray(_file(_smooth(3), "PNG"))
    encoded[33:35] = b"\xff\xff"  # of the chunk of pixels
    with pytest.raises(BadRecord, match="cannot be decoded as an image"):
        decode_image(bytes(encoded))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes
