"""Metrics: pure functions to sums on the device, and the ratios of the sums on the host."""

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

__all__ = [
    "CalibrationBins",
    "ClassificationScores",
    "Scores",
    "calibration_bins",
    "classification_report",
    "classification_scores",
    "confusion_counts",
    "expected_calibration_error",
    "top_k_hits",
]
