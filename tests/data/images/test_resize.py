"""Images at another size."""

import numpy as np
import pytest

from jaxmodels.data.images import load_images, resize_images


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
