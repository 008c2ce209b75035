"""Statistics of a training split."""

import numpy as np
import pytest

from jaxmodels.data.images import normalization, normalization_of
from jaxmodels.data.images.normalization import Moments, moments_of, normalization_from


@pytest.mark.parametrize("pixels", [7, 100, 1 << 17])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_equals_numpy_in_any_chunks(monkeypatch, pixels, dtype):
    images = np.random.default_rng(0).integers(0, 30000, (9, 4, 5, 3)).astype(dtype)
    whole = normalization_of(images)
    monkeypatch.setattr(normalization, "_PIXELS", pixels)
    found = normalization_of(images)
    assert found == whole
    wide = images.astype(np.float64)
    np.testing.assert_allclose(found.mean, wide.mean((0, 1, 2)), rtol=1e-8)
    np.testing.assert_allclose(found.std, wide.std((0, 1, 2)), rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_parts_in_any_order_give_the_same_bits(dtype):
    images = np.random.default_rng(2).uniform(0, 250, (40, 6, 7, 3)).astype(dtype)
    order = np.random.default_rng(3).permutation(40)
    moments = Moments(*map(np.array, zip(*(moments_of(images[i]) for i in order))))
    assert normalization_from(moments) == normalization_of(images)


def test_sums_beyond_64_bits_are_exact():
    """A thousand pictures of 2**30 pixels, half of them at 65535 and half at 65533."""
    count = np.full(1000, 1 << 30)
    value = np.where(np.arange(1000) % 2, 65535, 65533)[:, None]
    found = normalization_from(Moments(count, (count[:, None] * value), count[:, None] * value**2))
    assert found == ((65534.0,), (1.0,))


def test_a_constant_far_from_zero_does_not_cancel():
    images = np.full((50, 8, 8, 1), 65535, np.uint16)
    images[:, :, :4] -= 1
    found = normalization_of(images)
    assert found == ((65534.5,), (0.5,))


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
