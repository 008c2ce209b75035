"""Texts in batches that are cut to a length: padding that is not there changes nothing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxmodels.models.text_inputs import TextInput
from jaxmodels.models.text_models import TextModels
from jaxmodels.objectives.classifier import Classifier
from jaxmodels.objectives.optimizers import OptimizerConfig
from tests.marks import slow

LENGTHS, VOCABULARY, CLASSES = (4, 8, 12), 9, 3
KEY = jax.random.key(5)
SMALL = {
    "average": {"width": 8},
    "cnn": {"width": 4, "maps": 3},
    "lstm": {"width": 4, "hidden": 4},
    "transformer": {"layers": 1, "width": 8, "hidden": 16, "heads": 2},
}


def objective_of(model, **options):
    options_of_model = replace(getattr(TextModels(), model), **SMALL[model])
    models = replace(TextModels(), model=model, **{model: options_of_model})
    return Classifier(
        models.create(CLASSES, VOCABULARY),
        CLASSES,
        OptimizerConfig(optimizer="sgd", learning_rate=0.5, schedule="constant"),
        steps=10,
        class_weights=(0.5, 1.0, 2.0),
        input_name="text",
        buckets=tuple(((length,), None) for length in LENGTHS),
        **options,
    )


def batch_of(bucket, count=8):
    """A training batch of texts that fit a bucket, filled up to the longest."""
    generator = np.random.default_rng(bucket)
    tokens = generator.integers(0, VOCABULARY, (count, LENGTHS[-1]))
    sizes = generator.integers(1, LENGTHS[bucket] + 1, (count, 1))
    tokens = np.where(np.arange(LENGTHS[-1]) < sizes, tokens, -1).astype(np.int32)
    return {
        "label": jnp.asarray(generator.integers(0, CLASSES, count), jnp.int32),
        "bucket": jnp.full(count, bucket, jnp.int32),
        "text": TextInput(jnp.asarray(tokens), jnp.zeros_like(tokens)),
    }


def state_of(objective):
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch_of(0))
    return jax.jit(lambda key: objective.init(key, spec, objective.hyperparameters))(KEY)


def whole(batch):
    """The same batch in its full length."""
    return {name: column for name, column in batch.items() if name != "bucket"}


def assert_near(one, other):
    (state, sums), (state_of_other, sums_of_other) = one, other
    for a, b in zip(*map(jax.tree.leaves, (state["params"], state_of_other["params"]))):
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-5, atol=1e-6)
    for name, mean in sums.items():
        assert mean.value() == pytest.approx(sums_of_other[name].value(), rel=1e-5)


@pytest.mark.parametrize("model", ["average", *map(slow, ("cnn", "lstm", "transformer"))])
def test_a_batch_cut_to_its_bucket_has_the_step_of_its_full_length(model):
    objective = objective_of(model)
    state, step = state_of(objective), jax.jit(objective.step)
    for bucket in range(len(LENGTHS)):
        batch = batch_of(bucket)
        cut, full = step(state, batch, KEY), step(state, whole(batch), KEY)
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state["params"], cut[0]["params"])
        assert max(jax.tree.leaves(moved)) > 1e-3
        assert_near(cut, full)
    if model == "transformer":  # whose norms XLA fuses otherwise inside of a branch
        return
    # The last bucket is the full length: the same bits.
    for a, b in zip(*map(jax.tree.leaves, (cut, full)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_a_bucket_in_parts_and_on_devices_is_the_bucket_on_one_device():
    objective, batch = objective_of("average"), batch_of(1)
    state = state_of(objective)
    one = jax.jit(objective.step)(state, batch, KEY)
    assert_near(jax.jit(objective_of("average", accumulate=4).step)(state, batch, KEY), one)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    divided = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    replicated = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    assert_near(jax.jit(objective.step)(replicated, divided, KEY), one)


def test_losses_of_examples_have_the_mean_that_a_step_minimises():
    objective, batch = objective_of("average", accumulate=2), batch_of(0)
    state = state_of(objective)
    params, losses = objective.losses(state, batch, KEY)
    _, sums = jax.jit(objective.step)(state, batch, KEY)
    found = jax.jit(losses)(params)
    assert found.shape == (8,)
    assert float(found.mean()) == pytest.approx(sums["loss"].value(), rel=1e-5)
