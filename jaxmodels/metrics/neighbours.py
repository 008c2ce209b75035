"""Scores from nearest neighbours: are samples realistic, varied, and no copies of training data?

Distances are Euclidean, computed from inner products in float64, one chunk of rows of their matrix
at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from jaxmodels.errors import InputError
from jaxmodels.metrics.feature_rows import (
    check_features,
    check_same_dims,
    float64_rows,
    mean_feature,
)

# Exceeds the round-off of inner products of thousands of dims, relative to squared norms.
_ROUND_OFF = 1e-12


class NeighbourScores(NamedTuple):
    """Shares in 0..1; density may exceed 1."""

    precision: float  # of fake examples within the ball of some real one
    recall: float  # of real examples within the ball of some fake one
    density: float  # mean number of real balls around a fake example, over `neighbours`
    coverage: float  # of real balls that hold some fake example


@np.errstate(under="ignore")
def neighbour_scores(
    real: Num[np.ndarray, "real dims"],
    fake: Num[np.ndarray, "fake dims"],
    neighbours: int = 5,
    chunk: int = 1024,
) -> NeighbourScores:
    """Computes precision, recall, density and coverage.

    The ball of an example reaches to its neighbours-th nearest other example of its own set. Its
    surface, to round-off, is outside, as in the code of Naeem et al. It is inside for Kynkäänniemi
    et al., which differs only where examples repeat.

    chunk: rows of the distance matrix held at once; it changes memory and speed, not the scores.

    Sources: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing
    Generative Models", section 2; Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for
    Generative Models", section 3.

    Raises:
      InputError: neighbours < 1 or chunk < 1, fewer than neighbours + 1 examples of either, dims
        that differ, or features that are not a matrix of finite numbers.
    """
    if neighbours < 1:
        raise InputError(f"neighbours: {neighbours}; expected at least 1")
    _check_chunk(chunk)
    need = f"neighbours {neighbours}, of others"
    real = check_features("real", real, neighbours + 1, need)
    fake = check_features("fake", fake, neighbours + 1, need)
    check_same_dims("real", real.shape[1], "fake", fake.shape[1])

    # One centre for all three matrices rounds equal distances alike.
    centre = mean_feature(real)
    real_reach = _squared_reach(real, centre, neighbours, chunk)
    fake_reach = _squared_reach(fake, centre, neighbours, chunk)

    precise = held = 0
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    # Distances are stretched by the round-off, so that a fake copy of the real example on the
    # surface is outside, whichever way the distances round.
    for start, squared in _squared_distances(fake, real, centre, chunk, 1 + _ROUND_OFF):
        in_real_ball = squared < real_reach
        precise += int(in_real_ball.any(1).sum())
        held += int(in_real_ball.sum())
        covered |= in_real_ball.any(0)
        recalled |= (squared < fake_reach[start : start + len(squared), None]).any(0)
    return NeighbourScores(
        precision=precise / len(fake),
        recall=float(recalled.mean()),
        density=held / (neighbours * len(fake)),
        coverage=float(covered.mean()),
    )


class Nearest(NamedTuple):
    """The references nearest to each query, nearest first."""

    index: Int[np.ndarray, "queries count"]
    distance: Float[np.ndarray, "queries count"]


@np.errstate(under="ignore")
def nearest(
    queries: Num[np.ndarray, "queries dims"],
    references: Num[np.ndarray, "references dims"],
    count: int = 1,
    chunk: int = 1024,
) -> Nearest:
    """Finds the `count` references nearest to each query, and their Euclidean distances.

    Distances of samples to training images far below those of held-out images show memorisation.
    Of several references at one distance, to round-off, any may be returned, with its distance.

    chunk: rows of the distance matrix held at once; it changes memory and speed.

    Raises:
      InputError: count < 1 or chunk < 1, no query, fewer references than count, dims that differ,
        or features that are not a matrix of finite numbers.
    """
    if count < 1:
        raise InputError(f"count: {count}; expected at least 1")
    _check_chunk(chunk)
    queries = check_features("queries", queries, 1, "a search")
    references = check_features("references", references, count, f"count {count}")
    check_same_dims("queries", queries.shape[1], "references", references.shape[1])
    indices, distances = [], []
    centre = mean_feature(references)
    for start, squared in _squared_distances(queries, references, centre, chunk):
        index = np.argpartition(squared, count - 1, axis=1)[:, :count]
        # Differences give the final distances, because inner products blur those near 0.
        rows = queries[start : start + len(squared)].astype(np.float64)
        distance = np.stack(
            [np.linalg.norm(rows - references[chosen], axis=1) for chosen in index.T], axis=1
        )
        order = np.argsort(distance, axis=1, kind="stable")
        indices.append(np.take_along_axis(index, order, axis=1))
        distances.append(np.take_along_axis(distance, order, axis=1))
    return Nearest(np.concatenate(indices), np.concatenate(distances))


def _check_chunk(chunk: int) -> None:
    if chunk < 1:
        raise InputError(f"chunk: {chunk}; expected at least 1")


def _squared_reach(
    features: np.ndarray, centre: np.ndarray, neighbours: int, chunk: int
) -> Float[np.ndarray, " count"]:
    """Computes the squared distance of each example to its neighbours-th nearest other."""
    reach = np.empty(len(features))
    for start, squared in _squared_distances(features, features, centre, chunk):
        stop = start + len(squared)
        # The example itself sorts first, so that the others start at index 1.
        squared[np.arange(len(squared)), np.arange(start, stop)] = -np.inf
        squared.partition(neighbours, axis=1)
        reach[start:stop] = squared[:, neighbours]
    return reach


def _squared_distances(
    queries: np.ndarray, references: np.ndarray, centre: np.ndarray, chunk: int, stretch: float = 1
) -> Iterator[tuple[int, Float[np.ndarray, "chunk references"]]]:
    """Yields the first row and the squared distances of each chunk of queries.

    stretch: factor of the squared norms. A distance of 0 may come out negative by round-off.
    """
    start = 0
    for rows in float64_rows(queries, chunk):
        # Centring makes norms as small as the distances, so that few digits cancel.
        rows -= centre
        squared = np.empty((len(rows), len(references)))
        first = 0
        for others in float64_rows(references):
            others -= centre
            block = squared[:, first : first + len(others)]
            np.matmul(rows, others.T, out=block)
            block *= -2
            block += stretch * np.einsum("nd,nd->n", others, others)
            first += len(others)
        squared += stretch * np.einsum("nd,nd->n", rows, rows)[:, None]
        yield start, squared
        start += len(rows)
