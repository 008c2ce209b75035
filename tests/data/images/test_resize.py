"""Images at another size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.data import Order
from jaxmodels.data.images import (
    DataConfig,
    load_images,
    make_source,
    resize_image,
    resize_images,
)
from tests.marks import slow
from tests.tfds_folder import write_image_dataset


def test_halves_are_the_means_that_antialiasing_makes_and_labels_stay():
    data = load_images("digits")
    small = resize_images(data, 4)
    image = small.splits["test"]["image"]
    assert (image.shape, image.dtype) == ((360, 4, 4, 1), np.uint8)
    np.testing.assert_array_equal(small.splits["test"]["label"], data.splits["test"]["label"])
    # Inside, the filter is 1 3 3 1 each way.
    weights = np.array([1, 3, 3, 1]) / 8
    patch = data.splits["test"]["image"][:, 1:5, 3:7, 0].astype(float)
    expected = np.einsum("bij,i,j->b", patch, weights, weights)
    assert np.abs(image[:, 1, 2, 0] - expected).max() <= 0.51


@pytest.mark.parametrize("size", [0, 8])
def test_the_same_size_is_the_same_data(size):
    data = load_images("digits")
    assert resize_images(data, size) is data


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("sides", [(8, 8), (28, 28), (37, 90), (5, 64), (1, 3), (200, 31)])
@pytest.mark.parametrize("size", [4, 28, 32, 64])
def test_pixels_are_those_of_jax(dtype, sides, size):
    image = np.random.default_rng(0).integers(0, 256, (*sides, 3)).astype(dtype)
    found = resize_image(image, size)
    assert (found.shape, found.dtype) == ((size, size, 3), dtype)
    expected = jax.image.resize(jnp.asarray(image, jnp.float32), (size, size, 3), "bilinear")
    if dtype == np.float32:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
        return
    off = np.abs(found - np.round(np.asarray(expected)))
    # Only at a half, of which float32 may lie on either side, may the pixels differ, by one.
    at_half = np.abs(expected % 1 - 0.5) < 1e-3
    assert off[~at_half].max(initial=0) == 0 and off.max() <= 1


@pytest.fixture
def various(tmp_path):
    """Pictures of several sizes, stored encoded."""
    generator = np.random.default_rng(0)
    sides = [(9 + row % 4, 12 - row % 3, 3) for row in range(25)]
    images = [generator.integers(0, 256, side).astype(np.uint8) for side in sides]
    splits, labels = {"train": images}, {"train": [row % 3 for row in range(25)]}
    write_image_dataset(tmp_path, "various", splits, labels, shape=(-1, -1, 3))
    return load_images("various", tmp_path, varying=True), images


@pytest.mark.parametrize("workers", [0, slow(2)])
def test_encoded_images_are_resized_alike_resident_and_streamed(various, workers, capsys):
    data, images = various
    small = resize_images(data, 6)
    assert (data.shape, small.shape, small.sizes) == (None, (6, 6, 3), {"train": 25})
    assert small.decoded_bytes == 25 * 6 * 6 * 3
    assert (small.white, small.levels, small.facts()) == (data.white, data.levels, data.facts())
    resident = make_source(small, "train", DataConfig(loading="resident"))
    streamed = make_source(small, "train", DataConfig(loading="streamed", workers=workers))
    expected = [resize_image(image, 6) for image in images]
    np.testing.assert_array_equal(resident.arrays["image"], expected)
    np.testing.assert_array_equal(small.splits["train"]["label"], small.labels("train"))
    assert resident.spec(4) == streamed.spec(4)
    order = Order(25, 4, seed=1)
    (sent,) = streamed.send(order, [(0, 7)], 7)
    for name, column in resident.examples(order.rows(0, 7).ravel()).items():
        np.testing.assert_array_equal(sent[name].reshape(column.shape), column)


def test_each_size_is_decoded_once(various, capsys):
    data, _ = various
    for size in (5, 7, 5):
        image = resize_images(data, size).splits["train"]["image"]
        assert image.shape == (25, size, size, 3)
    assert capsys.readouterr().err.count("decoding 25 records of various/train, once") == 2
