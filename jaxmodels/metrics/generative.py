"""All scores of generated images in one space of features, under one protocol."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxmodels.metrics.frechet import feature_moments, frechet_distance
from jaxmodels.metrics.inception_score import inception_score
from jaxmodels.metrics.kernel_distance import kernel_distance
from jaxmodels.metrics.neighbours import neighbour_scores

NEIGHBOUR_EXAMPLES, KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 5000, 20, 1000

# As published for Inception's; a split of few examples underestimates the score.
SCORE_SPLITS = {"inception": 10, "classifier": 1, "pixels": 1}
# What a score is called depends on the features: only Inception's make an FID.
NAMES = {
    "inception": ("fid", "kid", "inception_score"),
    "classifier": ("frechet_classifier", "kid_classifier", "classifier_score"),
    "pixels": ("frechet_pixels", "kid_pixels", ""),
}


class Features(NamedTuple):
    """Images as a judge sees them."""

    features: Float[np.ndarray, "count dims"]
    logits: Float[np.ndarray, "count classes"] | None = None


def generative_scores(
    space: str, real: Features, fake: Features, neighbours: int = 5
) -> dict[str, float]:
    """Fréchet distance and KID, precision, recall, density, coverage and, with logits, the
    Inception score, also of the real images (suffix "_real"), which is about the best there is.

    The Fréchet distance takes all examples. KID: 20 subsets of 1000, or of all where there are
    fewer. Neighbours: among equally many of each, at most 5000, chosen at random.

    space: a key of NAMES. Raises InputError for fewer examples than a score needs.
    """
    frechet, kernel, score = NAMES[space]
    count = min(len(real.features), len(fake.features))
    subset = min(KERNEL_SUBSET_SIZE, count)
    some = min(NEIGHBOUR_EXAMPLES, count)
    scores = {
        frechet: frechet_distance(feature_moments(real.features), feature_moments(fake.features)),
        kernel: kernel_distance(real.features, fake.features, KERNEL_SUBSETS, subset).mean,
    }
    for suffix, images in (("", fake), ("_real", real)):
        if images.logits is not None:
            scores[score + suffix] = inception_score(images.logits, SCORE_SPLITS[space]).mean
    near = neighbour_scores(_some(real.features, some), _some(fake.features, some), neighbours)
    return scores | near._asdict()


def scores_protocol(space: str, real: int, fake: int, neighbours: int) -> dict:
    """How `generative_scores` takes that many examples, for the record."""
    return {
        "real": real,
        "samples": fake,
        "kernel_subsets": KERNEL_SUBSETS,
        "kernel_subset_size": min(KERNEL_SUBSET_SIZE, real, fake),
        "score_splits": SCORE_SPLITS[space],
        "neighbours": neighbours,
        "neighbour_examples": min(NEIGHBOUR_EXAMPLES, real, fake),
    }


def _some(features: np.ndarray, count: int) -> np.ndarray:
    """A random choice, always the same: the first ones may be by other writers than the last, every
    second one of labels in turn has only even classes."""
    order = np.random.Generator(np.random.Philox(0)).permutation(len(features))
    return features[np.sort(order[:count])]
