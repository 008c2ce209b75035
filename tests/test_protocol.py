"""The contract: means that add, and helpers that mean the same under jit and pmap."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels import across
from jaxmodels.protocol import DATA_AXIS, Mean, Objective, example_keys, mean_over

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


def test_total_across_devices_is_the_sum_under_pmap_and_the_identity_elsewhere():
    np.testing.assert_array_equal(_pmap(across.total)(jnp.arange(4.0)), np.full(4, 6.0))
    np.testing.assert_array_equal(jax.jit(across.total)(jnp.arange(4.0)), np.arange(4.0))


@pytest.mark.parametrize(
    "function",
    [across.rotate, lambda values: across.take(values, jnp.array([7, 0, 7, 3]))],
    ids=["rotate", "take"],
)
def test_rows_of_other_devices_are_those_of_the_global_batch(function):
    values = jnp.arange(24.0).reshape(8, 3)
    whole, parts = jax.jit(function)(values), _pmap(function)(values.reshape(DEVICES, 2, 3))
    if len(whole) == len(values):
        np.testing.assert_array_equal(parts.reshape(whole.shape), whole)
    for part in parts if len(whole) < len(values) else ():
        np.testing.assert_array_equal(part, whole)


def test_gathered_examples_send_their_gradients_back():
    """A loss that compares all pairs has, under pmap, the gradient of the whole batch."""
    values = jnp.array([0.5, -1.0, 2.0, 3.0, 0.1, 0.7, -2.0, 1.5])

    def loss(weight, values):
        mine = weight * values
        return jnp.sum(jnp.sin(mine[:, None] - across.gather(2 * mine)))

    def gradient(values):
        return across.total(jax.grad(loss)(jnp.float32(0.3), values))

    whole = jax.jit(gradient)(values)
    np.testing.assert_allclose(_pmap(gradient)(values.reshape(DEVICES, 2)), whole, rtol=1e-5)


def test_counts_and_positions_are_global():
    def places(values):
        count = across.global_count(len(values))
        return across.positions(len(values)), across.first_position(len(values)), count

    positions, first, count = _pmap(places)(jnp.zeros((DEVICES, 3)))
    np.testing.assert_array_equal(positions.reshape(-1), np.arange(3 * DEVICES))
    np.testing.assert_array_equal(first, 3 * np.arange(DEVICES))
    assert set(count.tolist()) == {3 * DEVICES}
    assert places(jnp.zeros(5))[1:] == (0, 5)


class _Halver:
    """An objective as a class: its methods are the functions of the protocol."""

    hyperparameters = {"rate": 0.5}  # noqa: RUF012

    def init(self, key, spec, hyperparameters):
        return {"step": jnp.int32(0), "x": jnp.float32(8)}

    def step(self, state, batch, key):
        x = state["x"] * self.hyperparameters["rate"]
        return {"step": state["step"] + 1, "x": x}, {}

    def evaluate(self, state, batch, key):
        return state["x"]

    @staticmethod
    def summarize(sums):
        return {"x": float(sums)}


def test_an_object_with_the_methods_is_an_objective():
    objective = Objective.of(_Halver())
    state, _ = objective.step(objective.init(None, {}, {}), {}, None)
    assert objective.summarize(objective.evaluate(state, {}, None)) == {"x": 4.0}
    assert objective.sample is None
    assert objective.hyperparameters == {"rate": 0.5}
    assert Objective.of(objective) == objective


def test_an_objective_may_sample_and_need_no_hyperparameters():
    class Sampler(_Halver):
        hyperparameters = {}  # noqa: RUF012

        def sample(self, state, key, conditions):
            return conditions

    objective = Objective.of(Sampler())
    assert objective.sample(None, None, 3) == 3
    assert objective.hyperparameters == {}
