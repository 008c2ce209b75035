"""Fréchet distance between Gaussians fitted to two sets of features: with Inception's, the FID."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from jaxmodels.errors import InputError
from jaxmodels.metrics.feature_rows import (
    check_features,
    check_same_dims,
    float64_rows,
    mean_feature,
)


class Moments(NamedTuple):
    """Mean and covariance of a set of features, in float64: all that the Fréchet distance needs."""

    mean: Float[np.ndarray, " dims"]
    covariance: Float[np.ndarray, "dims dims"]
    count: int


@np.errstate(under="ignore")
def feature_moments(features: Num[np.ndarray, "count dims"]) -> Moments:
    """Computes mean and unbiased covariance (divided by count - 1), as numpy.cov does.

    Raises:
      InputError: fewer than two examples, or features that are not a matrix of finite numbers.
    """
    features = check_features("features", features, 2, "a covariance")
    mean = mean_feature(features)
    scatter = np.zeros((len(mean), len(mean)))
    # A first pass computes the mean, because mean squares minus squared means would lose small
    # variances.
    for rows in float64_rows(features):
        rows -= mean
        scatter += rows.T @ rows
    return Moments(mean, scatter / (len(features) - 1), len(features))


@np.errstate(under="ignore")
def frechet_distance(one: Moments, other: Moments) -> float:
    """Computes |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr (S1^1/2 S2 S1^1/2)^1/2, at least 0.

    This is the squared distance, in squared units of the features; it is symmetric in its
    arguments. It is biased: it falls as the count grows, so compare distances at equal counts only.

    Sources: Dowson & Landau 1982, "The Fréchet Distance between Multivariate Normal Distributions",
    abstract; Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local
    Nash Equilibrium", section "Experiments".

    Raises:
      InputError: dims that differ, or moments that are not finite.
    """
    _check_moments("one", one)
    _check_moments("other", other)
    check_same_dims("one", len(one.mean), "other", len(other.mean))
    root = _square_root_factor(one.covariance)
    # With S1 = R R', R' S2 R has the same nonzero eigenvalues and is no larger than the rank.
    eigenvalues = np.linalg.eigvalsh(root.T @ other.covariance @ root)
    overlap = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    offset = np.subtract(one.mean, other.mean)
    spread = np.trace(one.covariance) + np.trace(other.covariance)
    return max(float(offset @ offset + spread - 2 * overlap), 0.0)


def _square_root_factor(
    covariance: Float[np.ndarray, "dims dims"],
) -> Float[np.ndarray, "dims rank"]:
    """Factors a covariance into R R', where R has as many columns as the rank."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    # Round-off makes zero eigenvalues tiny numbers, whose square roots (1e-8 of 1e-16) would add up
    # over thousands of dims.
    noise = np.abs(eigenvalues).max() * len(eigenvalues) * np.finfo(np.float64).eps
    kept = eigenvalues > noise
    return vectors[:, kept] * np.sqrt(eigenvalues[kept])


def _check_moments(field: str, moments: Moments) -> None:
    dims = len(moments.mean)
    if np.shape(moments.covariance) != (dims, dims):
        raise InputError(
            f"{field}: covariance of shape {np.shape(moments.covariance)} with a mean of {dims} "
            f"dims; expected {(dims, dims)}: use feature_moments"
        )
    if not (np.isfinite(moments.mean).all() and np.isfinite(moments.covariance).all()):
        raise InputError(f"{field}: moments that are not finite; use feature_moments")
