"""Losses of sequence to sequence: per token, in any shape, in parts and on devices; what it
writes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxmodels.decoding import search
from jaxmodels.models.encoder_decoder import EncoderDecoderConfig
from jaxmodels.objectives.optimizers import OptimizerConfig
from jaxmodels.objectives.sequence_to_sequence import SequenceToSequence
from jaxmodels.ops import softmax_cross_entropy
from jaxmodels.ops.label_smoothing import smoothing_difference
from tests.marks import campaign

VOCABULARY, START = 9, 8
BUCKETS = (((4, 3), 3), ((8, 7), 1))
KEY = jax.random.key(5)


def objective_of(**options):
    sizes = {"width": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    model = EncoderDecoderConfig(**sizes).create(VOCABULARY, (8, 8))
    optimizer = OptimizerConfig(optimizer="momentum", learning_rate=0.1)
    given = {"start": START, "end": START, "most": 6, "buckets": BUCKETS, **options}
    return SequenceToSequence(model=model, optimizer=optimizer, steps=10, **given)


def rows(count, longest, width, seed, start=False):
    generator = np.random.default_rng(seed)
    found = np.full((count, width), -1, np.int32)
    for row in found:
        size = generator.integers(2, longest + 1)
        row[:size] = generator.integers(0, VOCABULARY - 1, size)
        row[size - 1] = START
        row[0] = START if start else row[0]
    return found


def batch_of(bucket, count=8):
    """A training batch of 8 rows, of a bucket."""
    source, target = BUCKETS[bucket][0]
    room = count * 3
    columns = {
        "source": rows(room, source, 8, 1).reshape(count, 3, 8),
        "target": rows(room, target, 7, 2, start=True).reshape(count, 3, 7),
    }
    return {**columns, "bucket": np.full(count, bucket, np.int32)}


def state_of(objective):
    spec = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch_of(0).items()}
    init = partial(objective.init, spec=spec, hyperparameters=objective.hyperparameters)
    return jax.jit(lambda key: init(key))(jax.random.key(0))


def one_by_one(objective, params, batch):
    """The mean loss of the pairs of a training batch, without padding, pair by pair."""
    pairs = BUCKETS[int(batch["bucket"][0])][1]

    @jax.jit
    def logits_of(source, target, valid):
        return objective.model.apply({"params": params}, source, target, valid=valid)

    total, count = 0.0, 0
    for source, target in zip(
        batch["source"][:, :pairs].reshape(-1, 8), batch["target"][:, :pairs].reshape(-1, 7)
    ):
        size = int((target >= 0).sum())
        logits = logits_of(source[None], target[None], source[None] >= 0)[0, : size - 1]
        labels = jax.nn.log_softmax(logits)[np.arange(size - 1), target[1:size]]
        total, count = total - float(labels.sum()), count + size - 1
    return total / count, count


@pytest.mark.slow
@pytest.mark.parametrize("bucket", [0, campaign(1)])
def test_a_bucket_has_the_loss_of_its_pairs_one_by_one_in_parts_and_on_devices(bucket):
    objective, batch = objective_of(), batch_of(bucket)
    state = state_of(objective)
    loss, count = one_by_one(objective, state["params"], batch)
    after, sums = jax.jit(objective.step)(state, batch, KEY)
    assert int(sums["loss"].count) == count
    assert float(sums["loss"].total) / count == pytest.approx(loss, rel=1e-5)
    in_parts, _ = jax.jit(objective_of(accumulate=4).step)(state, batch, KEY)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    divided = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    whole = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    on_devices, _ = jax.jit(objective.step)(whole, divided, KEY)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state["params"], after["params"])
    assert max(jax.tree.leaves(moved)) > 1e-3
    for other in (in_parts, on_devices):
        for a, b in zip(*(jax.tree.leaves(x["params"]) for x in (after, other)), strict=True):
            np.testing.assert_allclose(a, np.asarray(b), rtol=1e-4, atol=1e-6)


def test_evaluation_is_the_same_in_the_smallest_shape_and_in_the_largest():
    objective = objective_of()
    state = state_of(objective)
    source, target = rows(5, 4, 8, 3), rows(5, 3, 7, 4, start=True)
    valid = {"valid": np.array([1, 1, 1, 1, 0], bool), "position": np.arange(5, dtype=np.int32)}
    evaluate = jax.jit(objective.evaluate)
    small = evaluate(state, {"source": source, "target": target, **valid}, KEY)
    # A long example that does not count makes the shape the largest.
    source[4], target[4] = 3, 3
    large = evaluate(state, {"source": source, "target": target, **valid}, KEY)
    for mean, other in zip(small, large):
        assert int(mean.count) == int(other.count) == int((target[:4, 1:] >= 0).sum())
        assert float(mean.total) == pytest.approx(float(other.total), rel=1e-5)
    # So does what is written.
    translate = jax.jit(objective.translate)
    written = translate(state, {"source": source}, KEY)["tokens"]
    assert written.shape == (5, 6)
    short = translate(
        state, {"source": np.where(np.arange(5)[:, None] < 4, source, source[:1])}, KEY
    )
    np.testing.assert_array_equal(short["tokens"][:4], written[:4])


@pytest.mark.slow
def test_short_sources_have_long_targets_whatever_stands_beside_them(monkeypatch):
    """And a search is compiled once for each shape, and once for the longest."""
    objective, traced = objective_of(most=12, end=3), []

    def counted(*given, **options):
        traced.append(options["most"])
        return search(*given, **options)

    monkeypatch.setattr("jaxmodels.decoding.search", counted)
    # More sources than this are not done in the first search.
    monkeypatch.setattr("jaxmodels.objectives.sequence_to_sequence._FEW", 1)
    larger = lambda leaf: 3 * leaf if leaf.dtype == jnp.float32 else leaf  # noqa: E731
    state, translate = jax.tree.map(larger, state_of(objective)), jax.jit(objective.translate)
    source = np.full((4, 8), -1, np.int32)
    source[:, :3] = np.random.default_rng(0).integers(0, 8, (4, 3))
    written = np.asarray(translate(state, {"source": source}, KEY)["tokens"])
    ends = (written == 3).argmax(axis=1)
    assert (ends == [0, 1, 0, 0]).all() and (written[0] != 3).all()  # of both kinds
    source[3] = 2
    beside = np.asarray(translate(state, {"source": source}, KEY)["tokens"])
    np.testing.assert_array_equal(written[:3], beside[:3])
    assert traced == [6, 12, 12] and translate._cache_size() == 1
    # What is exported has one shape.
    plain = jax.jit(replace(objective, buckets=()).translate)(state, {"source": source}, KEY)
    np.testing.assert_array_equal(plain["tokens"], beside)


@pytest.mark.slow
def test_a_step_in_each_bucket_is_one_program():
    objective = objective_of()
    state, step = state_of(objective), jax.jit(objective.step)
    for bucket in (0, 1, 0):
        state, _ = step(state, jax.tree.map(jnp.asarray, batch_of(bucket)), KEY)
    assert step._cache_size() == 1


def test_smoothing_is_that_of_the_logits_with_its_gradients():
    generator = np.random.default_rng(0)
    hidden = jnp.asarray(generator.normal(size=(2, 3, 4)), jnp.float32)
    kernel = jnp.asarray(generator.normal(size=(4, 6)), jnp.float32)
    targets = jnp.array([[1, 5, -1], [0, 2, 3]])
    weights = jnp.array([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])

    def ours(hidden, kernel):
        return 0.3 * smoothing_difference(hidden, kernel, targets, weights)

    def plain(hidden, kernel):
        labels, logits = jnp.maximum(targets, 0), hidden @ kernel
        smoothed, hard = (softmax_cross_entropy(logits, labels, s) for s in (0.3, 0.0))
        return jnp.sum(weights * (smoothed - hard))

    for a, b in zip(*(jax.value_and_grad(f, (0, 1))(hidden, kernel) for f in (ours, plain))):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), a, b)


@pytest.mark.slow
def test_losses_of_rows_have_the_mean_that_a_step_minimises():
    batch = jax.tree.map(jnp.asarray, batch_of(0))
    for options in ({}, {"accumulate": 2}):
        objective = objective_of(dropout=0.2, **options)
        state = state_of(objective)
        params, losses = objective.losses(state, batch, KEY)
        _, sums = jax.jit(objective.step)(state, batch, KEY)
        found = jax.jit(losses)(params)
        assert found.shape == (8,)
        assert float(found.mean()) == pytest.approx(sums["loss"].value(), rel=1e-5)
