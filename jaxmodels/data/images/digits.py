"""scikit-learn's 1,797 real handwritten digits, embedded in the package scikit-learn."""

import hashlib

import numpy as np

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION
from jaxmodels.order import permutation

# Multiples of the usual batch sizes, so that an epoch of training is a whole number of steps.
SIZES = {TEST: 360, VALIDATION: 157, TRAIN: 1280}


def load_digits() -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """Returns splits of images (8x8x1, uint8 in 0..16) and labels, and a fingerprint of them.

    The splits are stratified and always the same: the examples are sorted by class and shuffled
    within it; evenly spaced ones are the test split and, of the rest, the validation split.
    """
    from sklearn import datasets

    pixels, target = datasets.load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8, 1).astype(np.uint8)
    labels = target.astype(np.int32)
    shuffled = permutation(len(labels), seed=0, epoch=0)
    left = shuffled[np.argsort(labels[shuffled], kind="stable")]
    splits = {}
    for name, size in SIZES.items():
        chosen = np.diff(np.arange(len(left) + 1) * size // len(left)) > 0
        rows = np.sort(left[chosen])
        splits[name] = {"image": images[rows], "label": labels[rows]}
        left = left[~chosen]
    fingerprint = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]
    return splits, fingerprint
