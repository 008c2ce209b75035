"""Pictures taken with a camera that was turned."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxmodels.data.images import (
    DataConfig,
    central_crop,
    crops,
    decode_image,
    load_images,
    make_source,
    random_resized_crop,
    read_pictures,
)
from jaxmodels.data.images.orientation import orientation_of
from jaxmodels.order import Order

_LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "JPEG": {"quality": 95}}


def _picture(height=20, width=30, channels=3, seed=0):
    waves = np.sin(np.linspace(0, 3, height))[:, None, None] + np.linspace(0, 1, width)[:, None]
    return np.clip(60 + 50 * waves + 9 * np.arange(channels) + seed, 0, 255).astype(np.uint8)


def _file(image, kind, orientation, **options):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.save(file, kind, exif=exif, **_LOSSLESS[kind], **options)
    return file.getvalue()


def _turned(encoded):
    """Pillow's upright picture, the reference."""
    image = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    return image.reshape(*image.shape[:2], -1)


@pytest.mark.parametrize("kind", _LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_decoded_upright(kind, channels, orientation):
    encoded = _file(_picture(channels=channels if kind != "WEBP" else 3), kind, orientation)
    expected, found = _turned(encoded), decode_image(encoded, None if kind == "WEBP" else channels)
    assert found.shape == expected.shape and found.flags.c_contiguous
    assert np.abs(found.astype(int) - expected).max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [10, 80])
def test_crops_are_of_the_upright_picture(orientation, size):
    """At the smaller size a JPEG is decoded at a part of its size."""
    encoded = _file(_picture(200, 300), "JPEG", orientation)
    image = decode_image(encoded, 3)
    upright = io.BytesIO()
    Image.fromarray(image).save(upright, "PNG")  # always decoded in full
    for made in (
        lambda encoded: central_crop(encoded, size, 3, np.uint8),
        lambda encoded: random_resized_crop(encoded, size, 0, 5, 3, np.uint8),
    ):
        found, expected = made(encoded).astype(int), made(upright.getvalue())
        assert np.abs(found - expected).max() <= 8


def test_a_large_turned_jpeg_is_decoded_at_a_part_of_its_size(monkeypatch):
    shapes = []
    reduced = crops._decode_reduced

    def spy(*given):
        shapes.append(reduced(*given).shape)
        return reduced(*given)

    monkeypatch.setattr(crops, "_decode_reduced", spy)
    central_crop(_file(_picture(200, 300), "JPEG", 6), 20, 3, np.uint8)
    assert shapes == [(25, 38, 3)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_says_no_orientation_is_upright(kind):
    encoded = _file(_picture(), kind, 6)
    assert orientation_of(encoded) == 6
    assert orientation_of(_file(_picture(), kind, 77)) == 1
    for end in range(0, len(encoded), 7):
        assert orientation_of(encoded[:end]) in (1, 6)  # broken files raise nothing here
    assert orientation_of(b"\xff\xd8\xff\xe1\x00\x00" * 9) == 1
    assert orientation_of(b"") == 1


@pytest.fixture(name="folder")
def _folder(tmp_path):
    """The case "sideways": all pictures of a camera that was turned."""
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            for row in range(4):
                picture = _picture(24, 12, seed=50 * label + 10 * row + (split == "test"))
                file = tmp_path / split / name / f"{row}.jpg"
                file.write_bytes(_file(picture, "JPEG", 6))
    return tmp_path


def test_every_way_to_read_turns_pictures(folder):
    data = load_images(str(folder))
    assert data.shape == (12, 24, 3)
    resident, streamed = (
        make_source(data, "train", DataConfig(loading=loading))
        for loading in ("resident", "streamed")
    )
    sent = [next(source.send(Order(8, 8, 0), [(0, 1)], 1)) for source in (resident, streamed)]
    decoded = resident.examples(sent[0]["row"][0])["image"]
    np.testing.assert_array_equal(decoded, sent[1]["image"][0])
    file = folder / "train" / "cat" / "0.jpg"
    [(_, columns)] = read_pictures(file, data)
    np.testing.assert_array_equal(columns["image"], resident.examples(np.array([0]))["image"][0])
    np.testing.assert_allclose(columns["image"], _turned(file.read_bytes()), atol=3)
    stored = np.asarray(resident.arrays["image"], np.float64)
    np.testing.assert_allclose(data.normalization().mean, stored.mean((0, 1, 2)), rtol=1e-6)
