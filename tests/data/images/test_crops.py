"""Crops at one size."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxmodels.data.images import central_crop, crops, decode_image, random_resized_crop


def _picture(height, width, channels=3):
    """Waves and a little noise, as of a photograph."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    shades = [np.sin(x / 23 + k) + np.cos(y / 31 - k) + np.sin((x + y) / 57) for k in range(3)]
    image = 128 + 35 * np.stack(shades[:channels], -1) + generator.normal(0, 3, (height, width, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def _file(image, kind):
    file = io.BytesIO()
    options = {"quality": 95} if kind == "JPEG" else {}
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, kind, **options)
    return file.getvalue()


def _plainly(image, box, size):
    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    shrinks = min(part.shape[:2]) >= size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(part, (size, size), interpolation=way).reshape(size, size, -1).astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [24, 60, 200, 500])
def test_pixels_are_those_of_a_full_decoding_cut_and_resized(kind, channels, size):
    encoded = _file(_picture(430, 610, channels), kind)
    image = decode_image(encoded, channels)
    for position in range(12):
        found = random_resized_crop(encoded, size, 7, position, channels, np.uint8)
        assert (found.shape, found.dtype) == ((size, size, channels), np.uint8)
        _assert_near(found, image, crops.random_box(430, 610, 7, position), kind == "JPEG")
    found = central_crop(encoded, size, channels, np.uint8)
    _assert_near(found, image, crops.central_box(430, 610), kind == "JPEG")


def _assert_near(found, image, box, is_jpeg):
    """Decoding at 1/factor of the size moves the sides of a box to multiples of factor."""
    size = len(found)
    factor = next((f for f in (8, 4, 2) if min(box.height, box.width) >= f * size), 1)
    if factor == 1 or not is_jpeg:
        np.testing.assert_array_equal(found, _plainly(image, box, size))
        return
    height, width = (-(-side // factor) for side in image.shape[:2])
    moved = crops.Box(*(value * factor for value in crops._reduced(box, factor, height, width)))
    assert np.abs(np.subtract(moved, box)).max() <= factor / 2
    off = np.abs(found - _plainly(image, moved, size))
    assert off.mean() < 1 and off.max() <= 6


def test_large_jpegs_are_decoded_at_a_part_of_their_size(monkeypatch):
    encoded, factors = _file(_picture(900, 1000), "JPEG"), []
    reduced = crops._decode_reduced

    def spy(encoded, factor, channels):
        factors.append(factor)
        image = reduced(encoded, factor, channels)
        assert image.shape == (-(-900 // factor), -(-1000 // factor), 3)
        return image

    monkeypatch.setattr(crops, "_decode_reduced", spy)
    for size in (98, 99, 197, 198, 394, 395):  # the box has a side of 788
        central_crop(encoded, size, 3, np.uint8)
    assert factors == [8, 4, 4, 2, 2]


def test_a_crop_is_a_function_of_seed_and_position_alone():
    encoded = _file(_picture(60, 80), "PNG")
    first = random_resized_crop(encoded, 16, 3, 1 << 40)
    random_resized_crop(encoded, 16, 3, 5)
    np.testing.assert_array_equal(random_resized_crop(encoded, 16, 3, 1 << 40), first)
    boxes = {crops.random_box(60, 80, seed, at) for seed in range(5) for at in range(40)}
    assert len(boxes) > 190


def test_boxes_are_these_in_every_version_of_numpy():
    assert crops.random_box(375, 500, 0, 0) == (9, 141, 266, 278)
    assert crops.random_box(375, 500, 11, 1 << 40) == (6, 27, 293, 323)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 90), (90, 1), (2, 3), (30, 300)])
def test_boxes_of_odd_pictures_are_within(height, width):
    for position in range(200):
        box = crops.random_box(height, width, 1, position)
        assert box.height >= 1 and box.width >= 1 and box.top >= 0 and box.left >= 0
        assert box.top + box.height <= height and box.left + box.width <= width
    encoded = _file(_picture(height, width), "JPEG")
    assert random_resized_crop(encoded, 8, 0, 0, 3, np.uint8).shape == (8, 8, 3)
    assert central_crop(encoded, 8, 3, np.uint8).shape == (8, 8, 3)


def test_the_central_box_is_seven_eighths_of_the_shorter_side():
    assert crops.central_box(256, 400) == (16, 88, 224, 224)
    assert crops.central_box(400, 256) == (88, 16, 224, 224)
