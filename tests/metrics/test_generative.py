"""All scores together: what is taken of how many, and what it is called."""

import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.metrics.generative import (
    NAMES,
    SCORES,
    Features,
    generative_scores,
    scores_protocol,
)


def _features(count, shift=0.0, classes=5, seed=0):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 12)) + shift
    return Features(features.astype(np.float32), 20 * generator.normal(size=(count, classes)))


@pytest.mark.parametrize("space", NAMES)
def test_same_distribution_scores_well_and_another_badly(space):
    real = _features(800)
    near = generative_scores(space, real, _features(900, seed=1))
    far = generative_scores(space, real, _features(900, shift=2.0, seed=2))
    frechet, kernel, score = NAMES[space]
    assert near[frechet] < 0.5 < 20 < far[frechet]
    assert near[kernel] < 0.05 < far[kernel]
    assert near["coverage"] > 0.9
    assert near["precision"] > 0.7
    assert far["coverage"] < 0.1
    if score:
        # Almost one-hot, all classes alike: about as many as there are classes.
        assert near[score] == pytest.approx(5, rel=0.12)
        assert near[f"{score}_real"] == pytest.approx(5, rel=0.12)


def test_only_inception_makes_an_fid():
    assert NAMES["inception"][0] == "fid"
    assert not {"fid", "kid"} & {*NAMES["classifier"], *NAMES["pixels"]}


def test_every_score_is_declared():
    images = _features(30)
    given = [generative_scores(space, images, images) for space in NAMES]
    assert {name for scores in given for name in scores} == set(SCORES)
    for name, score in SCORES.items():
        distance = name.startswith(("f", "k"))
        better = "lower" if distance else "neither" if name.endswith("_real") else "higher"
        assert score.better == better
        assert score.meaning and "\n" not in score.meaning


def test_pixels_predict_nothing():
    """Logits beside pixels are by no judge; they make no score."""
    images = _features(30)
    assert "" not in generative_scores("pixels", images, images)


def test_the_protocol_states_what_was_taken():
    protocol = scores_protocol("classifier", 360, 10_000, 5)
    assert protocol["kernel_subset_size"] == 360
    assert protocol["neighbour_examples"] == 360
    assert scores_protocol("inception", 50_000, 50_000, 3)["neighbour_examples"] == 5000


def test_too_few_real_images():
    with pytest.raises(InputError, match="neighbours 5"):
        generative_scores("pixels", _features(5), _features(100))


def test_neighbours_are_chosen_from_all_classes():
    """Labels in turn: every second example would leave half of the classes out."""
    generator = np.random.default_rng(0)

    def features(count):
        places = 10.0 * np.eye(10)[np.arange(count) % 10]
        return Features((places + 0.1 * generator.normal(size=places.shape)).astype(np.float32))

    scores = generative_scores("pixels", features(6000), features(12_000))
    assert scores["recall"] > 0.9
    assert scores["coverage"] > 0.9
