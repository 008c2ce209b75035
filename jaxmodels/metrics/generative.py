"""All scores of generated images in one feature space, by one protocol."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from jaxmodels.metrics.frechet import feature_moments, frechet_distance
from jaxmodels.metrics.inception_score import inception_score
from jaxmodels.metrics.kernel_distance import kernel_distance
from jaxmodels.metrics.neighbours import neighbour_scores
from jaxmodels.protocol import Score

NEIGHBOUR_EXAMPLES, KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 5000, 20, 1000

# Inception's score has ten splits as published; a split of few examples underestimates it.
SCORE_SPLITS = {"inception": 10, "classifier": 1, "pixels": 1}
# The names of Fréchet distance, kernel distance and score of predictions in each feature space.
# Only Inception's distance is an FID; pixels predict nothing.
NAMES = {
    "inception": ("fid", "kid", "inception_score"),
    "classifier": ("frechet_classifier", "kid_classifier", "classifier_score"),
    "pixels": ("frechet_pixels", "kid_pixels", ""),
}
_SEEN = {
    "inception": "features of the FID Inception network",
    "classifier": "features of a classifier of this data",
    "pixels": "pixels",
}


class Features(NamedTuple):
    """The features and logits of images in one feature space; pixels have no logits."""

    features: Float[np.ndarray, "count dims"]
    logits: Float[np.ndarray, "count classes"] | None = None


def generative_scores(
    space: str, real: Features, fake: Features, neighbours: int = 5
) -> dict[str, float]:
    """Computes Fréchet distance and KID, precision, recall, density, coverage and, from logits, the
    Inception score. SCORES says what each means.

    The Fréchet distance takes all examples. KID takes 20 subsets of at most 1000 examples.
    Precision, recall, density and coverage take equally many random examples of each, at most 5000.
    The Inception score of the real images (suffix "_real") is about the best possible.

    space: a key of NAMES.

    Raises:
      InputError: fewer examples than a score needs.
    """
    frechet, kernel, predictions = NAMES[space]
    count = min(len(real.features), len(fake.features))
    subset_size = min(KERNEL_SUBSET_SIZE, count)
    scores = {
        frechet: frechet_distance(feature_moments(real.features), feature_moments(fake.features)),
        kernel: kernel_distance(real.features, fake.features, KERNEL_SUBSETS, subset_size).mean,
    }
    for suffix, images in (("", fake), ("_real", real)):
        if predictions and images.logits is not None:
            score = inception_score(images.logits, SCORE_SPLITS[space])
            scores[predictions + suffix] = score.mean
    chosen = (_choose(images.features, min(NEIGHBOUR_EXAMPLES, count)) for images in (real, fake))
    return scores | neighbour_scores(*chosen, neighbours)._asdict()


def scores_protocol(space: str, real: int, fake: int, neighbours: int) -> dict:
    """Describes how `generative_scores` scores so many examples, for the record."""
    return {
        "real": real,
        "samples": fake,
        "kernel_subsets": KERNEL_SUBSETS,
        "kernel_subset_size": min(KERNEL_SUBSET_SIZE, real, fake),
        "score_splits": SCORE_SPLITS[space],
        "neighbours": neighbours,
        "neighbour_examples": min(NEIGHBOUR_EXAMPLES, real, fake),
    }


def _choose(features: Num[np.ndarray, "count dims"], count: int) -> Num[np.ndarray, "chosen dims"]:
    """Chooses random examples, always the same ones.

    Neither the first examples nor every n-th one would do: MNIST's are ordered by writer, and the
    labels of samples come in turn.
    """
    order = np.random.Generator(np.random.Philox(0)).permutation(len(features))
    return features[np.sort(order[:count])]


def _declare_scores() -> dict[str, Score]:
    scores = {
        "precision": Score("higher", "", "share of samples that are close to some real image"),
        "recall": Score("higher", "", "share of real images that are close to some sample"),
        "density": Score(
            "higher",
            "",
            "real images that a sample is close to, over the neighbours asked for; about 1 for"
            " samples like the real images, more where they crowd",
        ),
        "coverage": Score("higher", "", "share of real images that have a sample close to them"),
    }
    for space, (frechet, kernel, predictions) in NAMES.items():
        scores[frechet] = Score(
            "lower",
            "",
            f"Fréchet distance of samples to real images, in {_SEEN[space]}; it falls as counts"
            " grow, so compare equal counts only",
        )
        scores[kernel] = Score(
            "lower",
            "",
            f"kernel distance (squared MMD) of samples to real images, in {_SEEN[space]}; unbiased,"
            " so it may be negative near zero",
        )
        if predictions:
            scores[predictions] = Score(
                "higher",
                "",
                "how sure of each sample and how varied over all predictions are, from 1 to the"
                " number of classes",
            )
            scores[f"{predictions}_real"] = Score(
                "neither", "", f"{predictions} of the real images, about the best there is"
            )
    return scores


# Every name that `generative_scores` may give, in any space.
SCORES: Mapping[str, Score] = MappingProxyType(_declare_scores())
