"""Helpers of the scores of generated images: checks of features, and rows in float64.

Rows are converted to float64 in chunks, because 50,000 features of 2048 dims already take 400 MB in
float32.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Num

from jaxmodels.errors import InputError

ROWS = 4096


def check_features(
    field: str, features: Num[np.ndarray, "..."], least: int, need: str
) -> Num[np.ndarray, "count dims"]:
    """Checks that features are a matrix of finite numbers; returns them as a numpy array.

    field: the name of the features in messages.
    need: the reason for `least`, as messages write it after "for".

    Raises:
      InputError: not a matrix, fewer than `least` examples, or examples that are not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1]:
        raise InputError(
            f"{field}: shape {features.shape}; expected [count, dims]: "
            "flatten each example to one row"
        )
    if len(features) < least:
        raise InputError(
            f"{field}: {len(features)} examples; expected at least {least} for {need}: "
            "give more examples or ask for less"
        )
    finite = np.concatenate([np.isfinite(rows).all(1) for rows in float64_rows(features)])
    if not finite.all():
        raise InputError(
            f"{field}: {np.sum(~finite)} of {len(features)} examples are not finite, first row "
            f"{np.argmin(finite)}; expected finite numbers: check the network that gave them"
        )
    return features


def check_same_dims(field: str, dims: int, other_field: str, other_dims: int) -> None:
    """Checks that two sets of features have the same number of dims.

    Raises:
      InputError: they differ.
    """
    if dims != other_dims:
        raise InputError(
            f"{field}: {dims} dims, but {other_field} has {other_dims}; expected the same: "
            "take both from one layer of one network"
        )


def float64_rows(
    features: Num[np.ndarray, "count dims"], rows: int = ROWS
) -> Iterator[Float[np.ndarray, "rows dims"]]:
    """Yields consecutive chunks of at most `rows` examples."""
    for start in range(0, len(features), rows):
        yield features[start : start + rows].astype(np.float64)


def mean_feature(features: Num[np.ndarray, "count dims"]) -> Float[np.ndarray, " dims"]:
    """Computes the mean over examples, summed in float64."""
    return sum(rows.sum(0) for rows in float64_rows(features)) / len(features)
