"""Classifiers of spectrograms have their published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.errors import InputError
from jaxmodels.models.layers import BatchNorm
from jaxmodels.models.layers.sub_spectral_norm import SubSpectralNorm
from jaxmodels.models.options import with_options
from jaxmodels.models.sound_models import SoundModels
from jaxmodels.protocol import DATA_AXIS
from tests.marks import slow

# Thousands of parameters with 12 classes, by Kim et al. 2021 (table 1) and Berg et al. 2021 (table
# 1); 1.5 stands in the authors' code alone.
PUBLISHED = [
    ("bcresnet", 1.0, "9.2"),
    ("bcresnet", 2.0, "27.3"),
    ("bcresnet", 3.0, "54.2"),
    ("bcresnet", 6.0, "188"),
    ("bcresnet", 8.0, "321"),
    ("kwt", "1", "607"),
    ("kwt", "2", "2394"),
    ("kwt", "3", "5361"),
]


@pytest.mark.parametrize(
    ("model", "size", "thousands"), [PUBLISHED[0], *(slow(*case) for case in PUBLISHED[1:])]
)
def test_published_numbers_of_parameters(model, size, thousands):
    option = {"scale": size} if model == "bcresnet" else {"variant": size}
    module = with_options(SoundModels(model=model), **option).create(12)
    frames = 101 if model == "bcresnet" else 98
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, frames, 40)))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) / 1000
    assert f"{count:.{len(thousands.partition('.')[2])}f}" == thousands


def test_each_range_is_normalised_as_by_batch_norm():
    x = jnp.asarray(np.random.default_rng(0).normal(2, 3, (4, 10, 6, 3)), jnp.float32)
    module = SubSpectralNorm()
    variables = module.init(jax.random.key(0), x, train=True)
    found, changed = module.apply(variables, x, train=True, mutable=["batch_stats"])
    norm = BatchNorm()
    for part in range(5):
        rows = x[:, 2 * part : 2 * part + 2]
        own = norm.init(jax.random.key(0), rows, train=True)
        expected, theirs = norm.apply(own, rows, train=True, mutable=["batch_stats"])
        np.testing.assert_allclose(found[:, 2 * part : 2 * part + 2], expected, atol=1e-5)
        for name in ("mean", "var"):
            one = changed["batch_stats"][name][part]
            np.testing.assert_allclose(one, theirs["batch_stats"][name], rtol=1e-5)
    with pytest.raises(ValueError, match="9 frequencies; expected a multiple of the 5 ranges"):
        module.init(jax.random.key(0), x[:, :9], train=True)


def test_statistics_of_ranges_are_those_of_all_devices():
    x = jnp.asarray(np.random.default_rng(0).normal(2, 3, (8, 5, 3, 2)), jnp.float32)
    module = SubSpectralNorm()
    variables = module.init(jax.random.key(0), x, train=True)

    def normalise(x):
        return module.apply(variables, x, train=True, mutable=["batch_stats"])

    whole, changed = normalise(x)
    parts, theirs = jax.pmap(normalise, axis_name=DATA_AXIS)(x[:, None])
    np.testing.assert_allclose(parts[:, 0], whole, atol=1e-5)
    for own, other in zip(jax.tree.leaves(changed), jax.tree.leaves(theirs)):
        np.testing.assert_allclose(other, np.broadcast_to(own, other.shape), rtol=1e-5)


def test_other_bands_are_refused():
    with pytest.raises(InputError, match="bands = 80; bcresnet needs 40"):
        module = SoundModels().create(3)
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 20, 80)))
