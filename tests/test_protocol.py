"""The contract: means that add, and helpers that mean the same under jit and pmap."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels import across
from jaxmodels.protocol import DATA_AXIS, Mean, example_keys, mean_over

DEVICES = 4


def _pmap(function):
    if len(jax.devices()) < DEVICES:
        pytest.skip(f"needs {DEVICES} devices")
    return jax.pmap(function, axis_name=DATA_AXIS, devices=jax.devices()[:DEVICES])


def test_mean_value():
    assert Mean(jnp.float32(3), jnp.int32(4)).value() == 0.75
    assert math.isnan(Mean(jnp.float32(0), jnp.int32(0)).value())


def test_mean_over_counts_the_valid_only():
    values = jnp.array([1.0, 2.0, jnp.nan, 6.0])
    valid = jnp.array([True, True, False, True])
    mean = jax.jit(mean_over)(values, valid)
    assert mean.value() == 3
    assert (mean.total.dtype, mean.count.dtype) == (jnp.float32, jnp.int32)
    everything = jax.jit(mean_over)(values[:2])
    assert (everything.value(), int(everything.count)) == (1.5, 2)
    assert everything.count.dtype == jnp.int32
    assert math.isnan(mean_over(values, jnp.zeros(4, bool)).value())


def test_mean_over_sums_half_precision_in_float32():
    # 256 + 1 is 256 in bfloat16.
    assert mean_over(jnp.ones(1000, jnp.bfloat16)).total == 1000


@pytest.mark.parametrize("sizes", [(5, 5), (1, 9), (10, 0)])
def test_means_add_over_uneven_batches(sizes):
    values = jnp.arange(10.0)
    parts = [mean_over(part) for part in jnp.split(values, [sizes[0]])]
    assert jax.tree.map(jnp.add, *parts).value() == 4.5


def test_example_keys_do_not_depend_on_the_device_count():
    key, per_device = jax.random.key(7), 3

    def keys(_):
        return jax.random.key_data(example_keys(key, across.positions(per_device)))

    sharded = _pmap(keys)(jnp.zeros(DEVICES))
    whole = jax.random.key_data(example_keys(key, across.positions(DEVICES * per_device)))
    np.testing.assert_array_equal(sharded.reshape(whole.shape), whole)
    assert len(np.unique(whole, axis=0)) == DEVICES * per_device


def test_example_keys_do_not_depend_on_the_batch_size():
    key = jax.random.key(1)
    longer, shorter = (
        jax.random.key_data(example_keys(key, jnp.arange(count))) for count in (8, 5)
    )
    np.testing.assert_array_equal(longer[:5], shorter)


def test_example_keys_of_positions_are_those_of_the_examples_there():
    """However the examples are divided into batches, and over devices."""
    key, data = jax.random.key(1), jax.random.key_data
    whole = data(example_keys(key, jnp.arange(12)))
    positions = jnp.array([7, 0, 11, 7])
    np.testing.assert_array_equal(data(example_keys(key, positions)), whole[positions])

    def keys(positions):
        return data(example_keys(key, positions))

    sharded = _pmap(keys)(jnp.arange(12).reshape(DEVICES, 3))
    np.testing.assert_array_equal(sharded.reshape(whole.shape), whole)


def test_average_across_devices_is_the_mean_under_pmap():
    tree = {"a": jnp.arange(4.0), "b": (jnp.arange(8.0).reshape(4, 2),)}
    out = _pmap(across.average)(tree)
    np.testing.assert_array_equal(out["a"], np.full(4, 1.5))
    np.testing.assert_array_equal(out["b"][0], np.tile([3.0, 4.0], (4, 1)))


def test_average_across_devices_is_the_identity_elsewhere():
    tree = {"a": jnp.arange(4.0)}
    assert across.average(tree) is tree
    np.testing.assert_array_equal(jax.jit(across.average)(tree)["a"], tree["a"])
    # An axis of any other name is no data axis.
    out = jax.vmap(across.average, axis_name="members")(tree)
    np.testing.assert_array_equal(out["a"], tree["a"])


def test_a_mesh_axis_of_that_name_under_jit_is_not_bound():
    """Under jit the program is global: keys count over the whole batch, means are whole already."""
    if len(jax.devices()) < DEVICES:
        pytest.skip(f"needs {DEVICES} devices")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:DEVICES]), (DATA_AXIS,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(DATA_AXIS))
    values = jax.device_put(jnp.arange(8.0), rows)
    np.testing.assert_array_equal(jax.jit(across.average)(values), np.arange(8.0))
    key = jax.random.key(3)
    with jax.set_mesh(mesh):
        inside = jax.jit(lambda: jax.random.key_data(example_keys(key, across.positions(8))))()
    np.testing.assert_array_equal(
        inside, jax.random.key_data(example_keys(key, across.positions(8)))
    )
