"""Scores from nearest neighbours against their definitions, example by example."""

import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.metrics import nearest, neighbour_scores
from jaxmodels.metrics.feature_rows import ROWS


def _by_definition(real, fake, neighbours):
    def distances(one, other):
        return np.array([[np.sqrt(np.sum((x - y) ** 2)) for y in other] for x in one])

    def reach(features):
        return np.sort(distances(features, features), axis=1)[:, neighbours]

    between = distances(real, fake)
    real_reach, fake_reach = reach(real), reach(fake)
    held = np.array([[d < r for d in row] for row, r in zip(between, real_reach)])
    found = np.array([[d < r for d, r in zip(row, fake_reach)] for row in between])
    return (
        np.mean([held[:, j].any() for j in range(len(fake))]),
        np.mean([found[i].any() for i in range(len(real))]),
        held.sum() / (neighbours * len(fake)),
        np.mean([held[i].any() for i in range(len(real))]),
    )


def _two_sets(real_count=50, fake_count=35, dims=3):
    """Sets that overlap in part and differ in count and spread, so that all four scores differ."""
    generator = np.random.default_rng(2)
    real = generator.normal(size=(real_count, dims))
    return real, generator.normal(size=(fake_count, dims)) * 0.6 + 0.8


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_scores_equal_the_definition(neighbours):
    real, fake = _two_sets()
    for one, other in ((real, fake), (fake, real)):
        scores = neighbour_scores(one, other, neighbours)
        expected = _by_definition(one, other, neighbours)
        assert scores == pytest.approx(expected, rel=1e-12)
        # Otherwise scores in the wrong places would not show.
        assert len({round(score, 6) for score in expected}) == 4


def test_by_hand():
    """On a line, with one neighbour: real 0, 1, 4, of reach 1, 1, 3; fake 3.5, 6, 7 of reach 2.5,
    1, 1. Fake 3.5 and 6 are in the ball of real 4 alone; real 4 in that of fake 3.5 alone."""
    real, fake = np.array([[0.0], [1], [4]]), np.array([[3.5], [6], [7]])
    scores = neighbour_scores(real, fake, neighbours=1)
    assert scores == pytest.approx((2 / 3, 1 / 3, 2 / 3, 1 / 3))


@pytest.mark.parametrize("chunk", [1, 7, 35, 50, 64])
def test_chunks_change_nothing(chunk):
    real, fake = _two_sets()
    assert neighbour_scores(real, fake, chunk=chunk) == neighbour_scores(real, fake)
    expected, found = nearest(fake, real, 4), nearest(fake, real, 4, chunk=chunk)
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.distance, expected.distance)


def test_more_references_than_a_block():
    """References are read in blocks; on a line all is known: the k-th neighbours by sorting."""
    generator = np.random.default_rng(0)
    references = generator.normal(size=(ROWS + 300, 1)).astype(np.float32)
    queries = references[[ROWS + 10, 5, ROWS - 1]] + np.float32(1e-4)
    found = nearest(queries, references, 3)
    distances = np.abs(queries.astype(float) - references[:, 0].astype(float))
    np.testing.assert_array_equal(found.index, np.argsort(distances, axis=1)[:, :3])
    np.testing.assert_array_equal(found.distance, np.sort(distances, axis=1)[:, :3])


@pytest.mark.parametrize("neighbours", [1, 5])
@pytest.mark.parametrize("chunk", [9, 1024])
def test_identical_sets(neighbours, chunk):
    """Density is 1 exactly: of itself and the neighbours, the last is on the surface and outside,
    however its two distances, of the same pair of points, are rounded."""
    features = np.random.default_rng(0).normal(size=(60, 8)) + 100
    shuffled = features[::-1]
    assert neighbour_scores(features, shuffled, neighbours, chunk) == (1, 1, 1, 1)


def test_disjoint_sets_score_zero():
    real, fake = _two_sets()
    assert neighbour_scores(real, fake + 100) == (0, 0, 0, 0)


def test_one_dropped_mode_lowers_recall_and_coverage_alone():
    generator = np.random.default_rng(0)
    modes = np.array([[0.0, 0.0], [50.0, 50.0]])
    real = np.concatenate([mode + generator.normal(size=(100, 2)) for mode in modes])
    fake = generator.normal(size=(200, 2)) * 0.5
    scores = neighbour_scores(real, fake)
    assert scores.precision > 0.95
    assert scores.recall <= 0.5
    assert 0.4 < scores.coverage <= 0.5
    assert scores.density > 1
    # The other way round: realistic for half of the samples only, but all modes are there.
    swapped = neighbour_scores(fake, real)
    assert swapped.recall == scores.precision
    assert swapped.precision == scores.recall


def test_collapsed_samples_have_no_recall():
    """A fake set of one repeated point has balls of no size; it is still realistic."""
    real = _two_sets()[0]
    scores = neighbour_scores(real, np.repeat(real[:1], 20, axis=0))
    assert scores.precision == 1
    assert scores.recall == 0
    assert scores.coverage < 0.3


def test_balls_of_no_size_hold_nothing():
    """As by prdc: no distance is below a reach of 0, not even that of a copy."""
    assert neighbour_scores(np.zeros((8, 3)), np.zeros((9, 3))) == (0, 0, 0, 0)
    repeated = np.repeat(_two_sets()[0] * 1e6, 8, axis=0)
    assert neighbour_scores(repeated, repeated) == (0, 0, 0, 0)


def test_far_from_the_origin_distances_are_those_near_it():
    """Inner products of features near 1e6 would blur squared distances of 1 by 1e-4."""
    real, fake = (np.round(features * 2**20) / 2**20 for features in _two_sets())
    far = neighbour_scores(real + 2**20, fake + 2**20)
    assert far == neighbour_scores(real, fake)


def test_nearest_by_sorting_all_distances():
    generator = np.random.default_rng(0)
    queries, references = generator.normal(size=(20, 6)), generator.normal(size=(40, 6))
    distances = np.sqrt(((queries[:, None] - references) ** 2).sum(2))
    for count in (1, 3, 40):
        found = nearest(queries, references, count)
        assert found.index.shape == found.distance.shape == (20, count)
        np.testing.assert_array_equal(found.index, np.argsort(distances, axis=1)[:, :count])
        expected = np.sort(distances, axis=1)[:, :count]
        np.testing.assert_allclose(found.distance, expected, rtol=1e-14)


def test_copies_are_at_distance_zero():
    references = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32) + 9
    found = nearest(references[[7, 250]], references)
    assert found.index.tolist() == [[7], [250]]
    assert found.distance.tolist() == [[0], [0]]


def test_bytes_are_features_too():
    """Pixels as uint8 must not wrap around where they are subtracted."""
    found = nearest(np.array([[200, 0]], np.uint8), np.array([[0, 0], [203, 4]], np.uint8), 2)
    assert found.index.tolist() == [[1, 0]]
    assert found.distance.tolist() == [[5, 200]]


@pytest.mark.usefixtures("unchecked")
def test_bad_input_names_the_numbers():
    real, fake = _two_sets()
    six, five = real[:6], fake[:5]
    neighbour_scores(six, fake[:6])
    with pytest.raises(InputError, match="fake: 5 examples; expected at least 6 for neighbours 5"):
        neighbour_scores(six, five)
    with pytest.raises(InputError, match="real: 5 examples; expected at least 6 for neighbours 5"):
        neighbour_scores(five, six)
    with pytest.raises(InputError, match="neighbours: 0"):
        neighbour_scores(real, fake, neighbours=0)
    with pytest.raises(InputError, match="references: 50 examples; expected at least 51 for count"):
        nearest(fake, real, 51)
    with pytest.raises(InputError, match="queries: 0 examples; expected at least 1"):
        nearest(fake[:0], real)
    with pytest.raises(InputError, match="count: 0"):
        nearest(fake, real, 0)
    with pytest.raises(InputError, match="queries: 3 dims, but references has 2"):
        nearest(fake, real[:, :2])
    with pytest.raises(InputError, match="real: 3 dims, but fake has 2"):
        neighbour_scores(real, fake[:, :2])
    for function in (nearest, neighbour_scores):
        with pytest.raises(InputError, match="chunk: 0"):
            function(real, fake, chunk=0)
        with pytest.raises(InputError, match="not finite"):
            function(real, fake * np.nan)
