"""Scores from nearest neighbours: are samples realistic, varied, and no copies of training data?

Euclidean distances in float64, from inner products, a chunk of rows of the matrix at a time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxmodels.errors import InputError
from jaxmodels.metrics.feature_rows import (
    check_features,
    check_same_dims,
    float64_rows,
    mean_feature,
)

# Relative to the squared norms: above the round-off of an inner product of thousands of dims.
_ROUND_OFF = 1e-12


class NeighbourScores(NamedTuple):
    """Shares in 0..1; density may exceed 1."""

    precision: float  # of fake examples within the ball of some real one
    recall: float  # of real examples within the ball of some fake one
    density: float  # real balls that hold a fake example, over `neighbours`, mean over the fake
    coverage: float  # of real balls that hold some fake example


def neighbour_scores(
    real: Float[np.ndarray, "real dims"],
    fake: Float[np.ndarray, "fake dims"],
    neighbours: int = 5,
    chunk: int = 1024,
) -> NeighbourScores:
    """Precision, recall, density and coverage.

    The ball of an example reaches to its neighbours-th nearest other example of its own set. What
    lies on the surface, to round-off, is outside, as in the code of Naeem et al.; Kynkäänniemi et
    al. count it inside, which differs only where examples repeat.

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

    # One centre for all, so that a distance that all three matrices hold rounds alike in them.
    centre = mean_feature(real)
    real_reach = _squared_reach(real, centre, neighbours, chunk)
    fake_reach = _squared_reach(fake, centre, neighbours, chunk)

    precise = held = 0
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    # Too long by the round-off: a fake copy of the real example that sets a reach is on the
    # surface whichever way either distance rounds.
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
    """Of each query the nearest references, nearest first."""

    index: Int[np.ndarray, "queries count"]
    distance: Float[np.ndarray, "queries count"]


def nearest(
    queries: Float[np.ndarray, "queries dims"],
    references: Float[np.ndarray, "references dims"],
    count: int = 1,
    chunk: int = 1024,
) -> Nearest:
    """The `count` references nearest to each query, with their Euclidean distances.

    For samples among training images it shows memorisation: distances far below those of held-out
    images. Which of several references at one distance, to round-off, is given is not defined; the
    distance is that of the one given.

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
        # Once more, by differences: inner products blur a distance near 0.
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
    """Squared distance of each example to its neighbours-th nearest other."""
    reach = np.empty(len(features))
    for start, squared in _squared_distances(features, features, centre, chunk):
        stop = start + len(squared)
        # Itself is put first, so that the others start at index 1.
        squared[np.arange(len(squared)), np.arange(start, stop)] = -np.inf
        squared.partition(neighbours, axis=1)
        reach[start:stop] = squared[:, neighbours]
    return reach


def _squared_distances(
    queries: np.ndarray, references: np.ndarray, centre: np.ndarray, chunk: int, stretch: float = 1
) -> Iterator[tuple[int, Float[np.ndarray, "chunk references"]]]:
    """First row and squared distances of chunks of queries, with squared norms times `stretch`.

    A distance of 0 may come out negative by round-off.
    """
    start = 0
    for rows in float64_rows(queries, chunk):
        # Centred, the norms are of the size of the distances, and little cancels.
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
