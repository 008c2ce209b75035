"""Metrics: pure functions compute sums on the device, and ratios of the sums on the host.

Scores of generated images are computed from features, on the host only, in float64. Underflow to
zero is no error in them, whatever `np.seterr` says.
"""

from jaxmodels.metrics.classification import (
    CalibrationBins,
    ClassificationScores,
    Scores,
    calibration_bins,
    classification_report,
    classification_scores,
    confusion_counts,
    expected_calibration_error,
    top_k_hits,
)
from jaxmodels.metrics.frechet import Moments, feature_moments, frechet_distance
from jaxmodels.metrics.inception_score import InceptionScore, inception_score
from jaxmodels.metrics.kernel_distance import KernelDistance, kernel_distance, squared_mmd
from jaxmodels.metrics.multilabel import (
    LabelScores,
    average_precisions,
    label_counts,
    label_report,
    label_scores,
)
from jaxmodels.metrics.neighbours import Nearest, NeighbourScores, nearest, neighbour_scores

__all__ = [
    "CalibrationBins",
    "ClassificationScores",
    "InceptionScore",
    "KernelDistance",
    "LabelScores",
    "Moments",
    "Nearest",
    "NeighbourScores",
    "Scores",
    "average_precisions",
    "calibration_bins",
    "classification_report",
    "classification_scores",
    "confusion_counts",
    "expected_calibration_error",
    "feature_moments",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "label_counts",
    "label_report",
    "label_scores",
    "nearest",
    "neighbour_scores",
    "squared_mmd",
    "top_k_hits",
]
