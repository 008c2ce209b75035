"""Squared maximum mean discrepancy of two sets of features: with Inception's, the KID."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from jaxmodels.errors import InputError
from jaxmodels.metrics.feature_rows import check_features, check_same_dims, float64_rows


class KernelDistance(NamedTuple):
    """Mean and population standard deviation of the squared MMD over subsets."""

    mean: float
    standard_deviation: float


@np.errstate(under="ignore")
def kernel_distance(
    real: Num[np.ndarray, "real dims"],
    fake: Num[np.ndarray, "fake dims"],
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """Computes `squared_mmd` of random subsets of both sets, each drawn without replacement.

    The same seed draws the same subsets. Unlike the Fréchet distance, its expected value does not
    depend on the counts. It may be negative.

    Source: Bińkowski et al. 2018, "Demystifying MMD GANs" (the Kernel Inception Distance).

    Raises:
      InputError: subsets < 1, subset_size < 2 or more than the examples of either set, dims that
        differ, or features that are not a matrix of finite numbers.
    """
    if subsets < 1:
        raise InputError(f"subsets: {subsets}; expected at least 1")
    if subset_size < 2:
        raise InputError(f"subset_size: {subset_size}; expected at least 2, to form pairs")
    need = f"subset_size {subset_size}"
    real = check_features("real", real, subset_size, need)
    fake = check_features("fake", fake, subset_size, need)
    check_same_dims("real", real.shape[1], "fake", fake.shape[1])
    generator = np.random.Generator(np.random.Philox(seed))

    def draw(features):
        return features[generator.choice(len(features), subset_size, replace=False)]

    distances = [_squared_mmd(draw(real), draw(fake)) for _ in range(subsets)]
    return KernelDistance(float(np.mean(distances)), float(np.std(distances)))


@np.errstate(under="ignore")
def squared_mmd(real: Num[np.ndarray, "real dims"], fake: Num[np.ndarray, "fake dims"]) -> float:
    """Estimates the squared MMD under the kernel (x.y / dims + 1)^3.

    The estimate has no bias, so it may be negative. It is the mean kernel over pairs of different
    real examples, plus the mean over pairs of different fake ones, minus twice the mean over pairs
    of a real and a fake one.

    Sources: Gretton et al. 2012, "A Kernel Two-Sample Test", lemma 6; the kernel: Bińkowski et
    al. 2018, "Demystifying MMD GANs".

    Raises:
      InputError: fewer than two examples of either, dims that differ, or features that are not a
        matrix of finite numbers.
    """
    real = check_features("real", real, 2, "pairs of different examples")
    fake = check_features("fake", fake, 2, "pairs of different examples")
    check_same_dims("real", real.shape[1], "fake", fake.shape[1])
    return _squared_mmd(real, fake)


def _squared_mmd(real: np.ndarray, fake: np.ndarray) -> float:
    between = _kernel_sum(real, fake) / (len(real) * len(fake))
    return _mean_within(real) + _mean_within(fake) - 2 * between


def _mean_within(features: np.ndarray) -> float:
    """Averages the kernel over pairs of two different examples."""
    count = len(features)
    own = sum(
        _cube(np.einsum("nd,nd->n", rows, rows), rows.shape[1]) for rows in float64_rows(features)
    )
    return (_kernel_sum(features, features) - own) / (count * (count - 1))


def _kernel_sum(one: np.ndarray, other: np.ndarray) -> float:
    """Sums the kernel over all pairs, including those of an example with itself."""
    return sum(
        _cube(rows @ others.T, rows.shape[1])
        for rows in float64_rows(one)
        for others in float64_rows(other)
    )


def _cube(products: np.ndarray, dims: int) -> float:
    """Sums the kernel over inner products, which it overwrites."""
    products /= dims
    products += 1
    # The cube is a product, because numpy's power is many times slower.
    return float((products * products * products).sum())
