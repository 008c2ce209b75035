"""Scores of generated images against torch-fidelity, pytorch-fid and prdc."""

import numpy as np
import pytest

from jaxmodels.metrics import (
    feature_moments,
    frechet_distance,
    inception_score,
    kernel_distance,
    neighbour_scores,
    squared_mmd,
)
from tests.torchvision_shim import allow_torchvision

torch = pytest.importorskip("torch")
allow_torchvision()
pytestmark = pytest.mark.parity


def _features(real_count=300, fake_count=250, dims=24):
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(dims, dims)) / np.sqrt(dims)
    real = np.maximum(generator.normal(size=(real_count, dims)) @ mixing, 0)
    fake = np.maximum(generator.normal(size=(fake_count, dims)) @ mixing * 0.8 + 0.1, 0)
    return real, fake


def _statistics(features):
    return {"mu": features.mean(0), "sigma": np.cov(features, rowvar=False)}


def test_frechet_distance_equals_torch_fidelity():
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid")
    real, fake = _features()
    expected = metric_fid.fid_statistics_to_metric(_statistics(real), _statistics(fake), False)
    distance = frechet_distance(feature_moments(real), feature_moments(fake))
    assert distance == pytest.approx(expected["frechet_inception_distance"], rel=1e-8)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_frechet_distance_equals_pytorch_fid():
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    real, fake = _features()
    expected = fid_score.calculate_frechet_distance(
        *_statistics(real).values(), *_statistics(fake).values()
    )
    distance = frechet_distance(feature_moments(real), feature_moments(fake))
    assert distance == pytest.approx(expected, rel=1e-8)


def test_kernel_distance_equals_torch_fidelity():
    """On the whole of two sets of one size, where which subset is drawn does not matter."""
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid")
    real, fake = _features(200, 200)
    expected = metric_kid.kid_features_to_metric(
        *map(torch.tensor, (real, fake)), kid_subsets=1, kid_subset_size=200, verbose=False
    )["kernel_inception_distance_mean"]
    assert squared_mmd(real, fake) == pytest.approx(expected, rel=1e-9)
    ours = kernel_distance(real, fake, subsets=1, subset_size=200)
    assert ours.mean == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_subsets_agrees_with_torch_fidelity():
    """Other subsets, of the same distribution: means within their errors, deviations alike."""
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid")
    real, fake = _features()
    theirs = metric_kid.kid_features_to_metric(
        *map(torch.tensor, (real, fake)), kid_subsets=200, kid_subset_size=50, verbose=False
    )
    ours = kernel_distance(real, fake, subsets=200, subset_size=50)
    error = ours.standard_deviation * np.sqrt(2 / 200)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], abs=4 * error)
    deviation = theirs["kernel_inception_distance_std"]
    assert ours.standard_deviation == pytest.approx(deviation, rel=0.25)


@pytest.mark.parametrize("splits", [1, 7, 10])
def test_inception_score_equals_torch_fidelity(splits):
    metric_isc = pytest.importorskip("torch_fidelity.metric_isc")
    logits = (np.random.default_rng(0).normal(size=(103, 12)) * 3).astype(np.float32)
    expected = metric_isc.isc_features_to_metric(torch.tensor(logits), splits, shuffle=False)
    score = inception_score(logits, splits)
    assert score.mean == pytest.approx(expected["inception_score_mean"], rel=1e-12)
    deviation = expected["inception_score_std"]
    assert score.standard_deviation == pytest.approx(deviation, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_neighbour_scores_equal_prdc(neighbours):
    prdc = pytest.importorskip("prdc")
    real, fake = _features(dims=6)
    expected = prdc.compute_prdc(real, fake, neighbours)
    scores = neighbour_scores(real, fake, neighbours)
    # All four differ, and the sets are not interchangeable.
    assert len({round(value, 6) for value in expected.values()}) == 4
    assert scores._asdict() == pytest.approx(expected, rel=1e-12)
