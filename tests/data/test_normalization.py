"""Statistics of a training split."""

import numpy as np
import pytest

from jaxmodels.data import normalization, normalization_of


@pytest.mark.parametrize("pixels", [7, 100, 1 << 17])
def test_equals_numpy_in_any_chunks(monkeypatch, pixels):
    monkeypatch.setattr(normalization, "_PIXELS", pixels)
    images = np.random.default_rng(0).integers(0, 255, (9, 4, 5, 3)).astype(np.uint8)
    found = normalization_of(images)
    np.testing.assert_allclose(found.mean, images.mean((0, 1, 2)), rtol=1e-8)
    np.testing.assert_allclose(found.std, images.std((0, 1, 2)), rtol=1e-8)


def test_normalised_images_have_mean_0_and_std_1():
    images = np.random.default_rng(1).normal(1e4, 3, (50, 8, 8, 2)).astype(np.float32)
    normalized = np.asarray(normalization_of(images)(images))
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(normalized.std((0, 1, 2)), 1, atol=1e-3)


def test_a_constant_channel_keeps_its_scale():
    images = np.full((3, 2, 2, 1), 7, np.uint8)
    found = normalization_of(images)
    assert found == ((7.0,), (1.0,))
    np.testing.assert_array_equal(found(images), 0)
