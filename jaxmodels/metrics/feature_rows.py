"""What the scores of generated images share: checks of features, and their rows in float64.

Rows are converted a few at a time. 50,000 features of 2048 dims take 400 MB in float32; a float64
copy of all of them is never made.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Num

from jaxmodels.errors import InputError

ROWS = 4096


def check_features(
    field: str, features: Num[np.ndarray, "..."], least: int, need: str
) -> Num[np.ndarray, "count dims"]:
    """Checks that features are a matrix of finite numbers; gives them as a numpy array.

    field: what messages call them. need: what sets the least number of examples, as it reads after
    "for".

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
    """Checks that both have as many dims.

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
