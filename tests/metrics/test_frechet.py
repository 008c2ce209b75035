"""Fréchet distance against closed forms and scipy's matrix square root."""

import numpy as np
import pytest
import scipy.linalg

from jaxmodels.errors import InputError
from jaxmodels.metrics import Moments, feature_moments, frechet_distance
from jaxmodels.metrics.feature_rows import ROWS


def _features(seed, count, dims):
    """Correlated features of unequal scale, as float32."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(dims, dims)) * np.geomspace(1, 0.01, dims)
    return (generator.normal(size=(count, dims)) @ mixing + generator.normal(size=dims)).astype(
        np.float32
    )


def _by_matrix_square_root(one, other):
    """The definition, symmetric so that scipy's square root stays real for singular covariances."""
    root = scipy.linalg.sqrtm(one.covariance).real
    overlap = scipy.linalg.sqrtm(root @ other.covariance @ root).real
    offset = one.mean - other.mean
    return offset @ offset + np.trace(one.covariance + other.covariance - 2 * overlap)


def _by_singular_values(features, other_features):
    """tr (S1 S2)^1/2 is the sum of singular values of X Y', which never forms a covariance."""
    centred = [x - x.mean(0) for x in (features.astype(float), other_features.astype(float))]
    one, other = (x / np.sqrt(len(x) - 1) for x in centred)
    offset = features.mean(0, dtype=float) - other_features.mean(0, dtype=float)
    overlap = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    return offset @ offset + (one**2).sum() + (other**2).sum() - 2 * overlap


# The last is more than a chunk, with a remainder.
@pytest.mark.parametrize("count", [2, 50, ROWS + 7])
def test_moments_equal_numpy(count):
    features = _features(0, count, 6)
    moments = feature_moments(features)
    assert moments.count == count
    assert moments.mean.dtype == moments.covariance.dtype == np.float64
    exact = features.astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(0), rtol=1e-12)
    expected = np.cov(exact, rowvar=False)
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-10, atol=1e-14)


def test_small_variances_far_from_zero_are_kept():
    """Sums of squares minus the square of sums would lose all of a variance of 1e-6 at 1e4."""
    small = np.random.default_rng(0).normal(size=(1000, 1)) * 1e-3
    moments = feature_moments(small + 1e4)
    assert moments.covariance[0, 0] == pytest.approx(small.var(ddof=1), rel=1e-6)


def test_diagonal_gaussians_by_hand():
    """Per dim (m1 - m2)^2 + (s1 - s2)^2: 3^2 + (2 - 1)^2, and 4^2 + (5 - 3)^2."""
    one = Moments(np.array([1.0, 0.0]), np.diag([4.0, 25.0]), 9)
    other = Moments(np.array([-2.0, 4.0]), np.diag([1.0, 9.0]), 9)
    assert frechet_distance(one, other) == pytest.approx(30, rel=1e-14)


def test_covariances_that_do_not_commute_by_hand():
    """For 2x2, tr (S1 S2)^1/2 = (tr S1 S2 + 2 sqrt(det S1 S2))^1/2."""
    one = Moments(np.zeros(2), np.array([[2.0, 1.0], [1.0, 2.0]]), 9)
    other = Moments(np.zeros(2), np.array([[1.0, 0.0], [0.0, 5.0]]), 9)
    expected = 4 + 6 - 2 * np.sqrt(12 + 2 * np.sqrt(3 * 5))
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-14)


# The covariances: both of full rank; one singular, on either side; both singular.
@pytest.mark.parametrize("counts", [(80, 60), (10, 60), (60, 10), (10, 12)])
def test_distance_equals_the_matrix_square_root(counts):
    first, second = (_features(seed, count, 20) for seed, count in enumerate(counts))
    one, other = feature_moments(first), feature_moments(second)
    distance = frechet_distance(one, other)
    # Where a covariance is singular, roots of round-off are in scipy's value and, to a lesser
    # degree, in ours.
    assert distance == pytest.approx(_by_matrix_square_root(one, other), rel=1e-6)
    assert distance == pytest.approx(_by_singular_values(first, second), rel=1e-7)
    assert distance == pytest.approx(frechet_distance(other, one), rel=1e-7)


@pytest.mark.parametrize("count", [200, 7])
def test_a_set_is_at_distance_zero_of_itself(count):
    moments = feature_moments(_features(3, count, 40))
    distance = frechet_distance(moments, moments)
    assert 0 <= distance < 1e-9 * np.trace(moments.covariance)


def test_round_off_of_rank_deficient_covariances_is_not_counted():
    """Hundreds of eigenvalues of 1e-16 for 0 would shift the distance by 1e-6."""
    features = np.random.default_rng(0).normal(size=(40, 300))
    moments = feature_moments(features)
    assert frechet_distance(moments, moments) < 1e-10
    shifted = moments._replace(mean=moments.mean + 1)
    assert frechet_distance(moments, shifted) == pytest.approx(300, abs=1e-9)


def test_distance_is_never_negative():
    """What is left of round-off, which is often negative."""
    for seed in range(20):
        moments = feature_moments(_features(seed, 50, 8) * 1e3)
        assert frechet_distance(moments, moments) >= 0


def test_constant_features_have_no_spread():
    one, other = (feature_moments(np.full((5, 3), value)) for value in (1.0, 3.0))
    assert frechet_distance(one, other) == pytest.approx(12)
    spread = feature_moments(_features(0, 30, 3))
    expected = np.sum((one.mean - spread.mean) ** 2) + np.trace(spread.covariance)
    assert frechet_distance(one, spread) == pytest.approx(expected)
    assert frechet_distance(spread, one) == pytest.approx(expected)


def test_distance_is_invariant_to_rotations_and_shifts():
    one, other = _features(0, 90, 12).astype(float), _features(1, 70, 12).astype(float)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    expected = frechet_distance(feature_moments(one), feature_moments(other))
    turned = [feature_moments(features @ rotation + 2) for features in (one, other)]
    assert frechet_distance(*turned) == pytest.approx(expected, rel=1e-10)
    scaled = [feature_moments(3 * features) for features in (one, other)]
    assert frechet_distance(*scaled) == pytest.approx(9 * expected, rel=1e-10)


@pytest.mark.usefixtures("unchecked")
def test_bad_input_names_the_numbers():
    with pytest.raises(InputError, match="features: 1 examples; expected at least 2"):
        feature_moments(np.ones((1, 3)))
    with pytest.raises(InputError, match=r"features: shape \(4,\); expected \[count, dims\]"):
        feature_moments(np.ones(4))
    bad = np.ones((ROWS + 5, 3), np.float32)
    bad[ROWS + 2, 1], bad[ROWS + 4, 0] = np.nan, np.inf
    with pytest.raises(InputError, match=f"2 of {ROWS + 5} examples.*first row {ROWS + 2}"):
        feature_moments(bad)
    narrow, wide = (feature_moments(_features(0, 9, dims)) for dims in (3, 4))
    with pytest.raises(InputError, match="one: 3 dims, but other has 4"):
        frechet_distance(narrow, wide)
    with pytest.raises(InputError, match=r"other: covariance of shape \(4, 4\).*3 dims"):
        frechet_distance(narrow, narrow._replace(covariance=wide.covariance))
    with pytest.raises(InputError, match="one: moments that are not finite"):
        frechet_distance(narrow._replace(mean=np.full(3, np.nan)), narrow)
