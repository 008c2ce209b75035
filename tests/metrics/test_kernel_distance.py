"""Squared MMD against its definition, pair by pair."""

import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.metrics import kernel_distance, squared_mmd
from jaxmodels.metrics.feature_rows import ROWS


def _pair_by_pair(real, fake):
    """The definition: means over pairs of different examples, and over pairs across."""

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def within(features):
        count = len(features)
        pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
        return np.mean([kernel(features[i], features[j]) for i, j in pairs])

    across = np.mean([kernel(x, y) for x in real for y in fake])
    return within(real) + within(fake) - 2 * across


@pytest.mark.parametrize("counts", [(9, 14), (14, 9), (2, 2)])
def test_distance_equals_the_definition(counts):
    generator = np.random.default_rng(0)
    real = generator.normal(size=(counts[0], 5)) + 0.5
    fake = generator.normal(size=(counts[1], 5)) * 2
    expected = _pair_by_pair(real, fake)
    assert squared_mmd(real, fake) == pytest.approx(expected, rel=1e-12)
    # Which of the two is the real one does not matter.
    assert squared_mmd(fake, real) == pytest.approx(expected, rel=1e-12)


def test_by_hand():
    """In one dim with kernel (x y + 1)^3: 27 within {1, 2}, 1 within {0, 0}, 1 across."""
    assert squared_mmd(np.array([[1.0], [2.0]]), np.zeros((2, 1))) == pytest.approx(26)


def test_more_than_a_chunk_equals_moments():
    """For one dim, kernel sums are sums over moments: (x y + 1)^3 = sum_k C(3, k) x^k y^k."""
    generator = np.random.default_rng(1)
    real = generator.normal(size=(ROWS + 9, 1)).astype(np.float32)
    fake = generator.normal(size=(2 * ROWS + 3, 1)).astype(np.float32)
    powers = [
        np.array([np.sum(features.astype(float) ** k) for k in range(4)])
        for features in (real, fake)
    ]
    own = [np.sum((features.astype(float) ** 2 + 1) ** 3) for features in (real, fake)]
    binomial, counts = np.array([1, 3, 3, 1]), (len(real), len(fake))
    within = [
        (binomial @ (power * power) - itself) / (count * (count - 1))
        for power, itself, count in zip(powers, own, counts)
    ]
    across = binomial @ (powers[0] * powers[1]) / (counts[0] * counts[1])
    assert squared_mmd(real, fake) == pytest.approx(sum(within) - 2 * across, rel=1e-9, abs=1e-11)


@pytest.mark.slow
def test_it_is_unbiased():
    """Of one distribution the mean is 0, with both signs; of two, it does not depend on counts."""
    generator = np.random.default_rng(0)

    def draws(count, shift, repeats=4000):
        return np.array(
            [
                squared_mmd(
                    generator.normal(size=(count, 3)), generator.normal(size=(count, 3)) + shift
                )
                for _ in range(repeats)
            ]
        )

    same = draws(4, 0.0)
    # The biased estimate would be above 0 by a quarter of the mean own kernel: by about 3.
    assert abs(same.mean()) < 4 * same.std() / np.sqrt(len(same)) < 0.5
    assert 0.3 < (same < 0).mean() < 0.9
    few, many = draws(3, 0.7), draws(12, 0.7, 1000)
    error = np.hypot(few.std() / np.sqrt(len(few)), many.std() / np.sqrt(len(many)))
    assert abs(few.mean() - many.mean()) < 4 * error
    assert many.mean() > 1


def test_subsets_are_draws_without_replacement():
    """Subsets as large as the sets are the sets: every one has the distance of the whole."""
    generator = np.random.default_rng(0)
    real, fake = generator.normal(size=(20, 4)), generator.normal(size=(20, 4)) + 1
    result = kernel_distance(real, fake, subsets=3, subset_size=20)
    assert result.mean == pytest.approx(squared_mmd(real, fake), rel=1e-12)
    assert result.standard_deviation < 1e-12


def test_subsets_average_to_the_whole():
    """Mean over random subsets estimates that of the whole; each set's subsets are its own."""
    generator = np.random.default_rng(0)
    real, fake = generator.normal(size=(60, 4)), generator.normal(size=(90, 4)) + 1
    result = kernel_distance(real, fake, subsets=400, subset_size=15)
    error = result.standard_deviation / np.sqrt(400)
    assert error > 0.01
    assert result.mean == pytest.approx(squared_mmd(real, fake), abs=4 * error)


def test_standard_deviation_is_over_subsets():
    """Of two subsets the mean and half the gap give both distances, the second being the further
    draw of the same stream as with one subset."""
    generator = np.random.default_rng(0)
    real, fake = generator.normal(size=(60, 4)), generator.normal(size=(90, 4)) + 1
    first = kernel_distance(real, fake, subsets=1, subset_size=15)
    both = kernel_distance(real, fake, subsets=2, subset_size=15)
    assert first.standard_deviation == 0
    assert both.standard_deviation == pytest.approx(abs(both.mean - first.mean), rel=1e-9)
    assert both.standard_deviation > 0


def test_the_seed_sets_the_subsets():
    generator = np.random.default_rng(0)
    real, fake = generator.normal(size=(50, 4)), generator.normal(size=(50, 4))
    one, again, other = (kernel_distance(real, fake, 5, 10, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one.mean != other.mean


@pytest.mark.usefixtures("unchecked")
def test_bad_input_names_the_numbers():
    features, few = np.ones((30, 3)), np.ones((20, 3))
    with pytest.raises(InputError, match="fake: 20 examples; expected at least 25 for subset_size"):
        kernel_distance(features, few, subset_size=25)
    with pytest.raises(InputError, match="real: 20 examples; expected at least 25 for subset_size"):
        kernel_distance(few, features, subset_size=25)
    with pytest.raises(InputError, match="subset_size: 1; expected at least 2"):
        kernel_distance(features, features, subset_size=1)
    with pytest.raises(InputError, match="subsets: 0"):
        kernel_distance(features, features, subsets=0, subset_size=10)
    with pytest.raises(InputError, match="real: 1 examples; expected at least 2"):
        squared_mmd(features[:1], features)
    with pytest.raises(InputError, match="fake: 1 examples; expected at least 2"):
        squared_mmd(features, features[:1])
    for function in (squared_mmd, lambda x, y: kernel_distance(x, y, subset_size=5)):
        with pytest.raises(InputError, match="real: 3 dims, but fake has 2"):
            function(features, features[:, :2])
        with pytest.raises(InputError, match="fake: 30 of 30 examples are not finite"):
            function(features, features * np.inf)
