"""Buckets: the least padding, every example once an epoch, a function of seed and step."""

from collections import Counter
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.data.buckets import Bucket, Bucketed, bucket_of, choose_buckets, filled
from jaxmodels.objectives.bucketed import in_bucket
from jaxmodels.order import Order
from jaxmodels.protocol import mean_over
from jaxmodels.train.program import TrainProgram
from tests.train.toys import regression

MOST = (64, 48)


def lengths_of(count=500, seed=0):
    generator = np.random.default_rng(seed)
    source = np.minimum(3 + generator.geometric(0.1, count), MOST[0])
    target = np.minimum(np.maximum(source + generator.integers(-6, 7, count), 3), MOST[1])
    return np.stack([source, target], axis=1)


def padded(lengths, sizes):
    """Tokens with padding, where each pair is in the smallest of these shapes that it fits."""
    numbers = bucket_of(lengths, [Bucket(tuple(size)) for size in sizes])
    return sum(sum(sizes[number]) for number in numbers)


def test_three_buckets_have_the_least_padding_of_all_choices():
    lengths = lengths_of()
    found = filled(choose_buckets(lengths, MOST, 3))
    levels = [(4 * step, min(48, -(-3 * step // 4) * 4)) for step in range(1, 17)]
    best = min(
        padded(lengths, [*map(levels.__getitem__, ends), MOST])
        for ends in combinations(range(15), 2)
    )
    assert padded(lengths, [bucket.lengths for bucket in found]) == best
    assert found[-1] == Bucket(MOST, 1)
    for bucket in found:
        assert bucket.examples == round(sum(MOST) / sum(bucket.lengths))
        assert Bucket.of_values(bucket.values()) == bucket


def test_pairs_of_one_length_have_one_bucket():
    assert choose_buckets(np.full((50, 2), 48), (48, 48), 4) == (Bucket((48, 48)),)


def source_of(lengths, buckets):
    columns = {
        name: np.arange(len(lengths) * most, dtype=np.int32).reshape(len(lengths), most)
        for name, most in zip(("source", "target"), MOST)
    }
    return Bucketed(columns, lengths, buckets, str)


def pairs_of(source, order, start, stop):
    """The bucket and the pairs of each step."""
    (sent,) = source.send(order, [(start, stop)], stop - start)
    for bucket, pairs in zip(sent["bucket"], sent["example"]):
        assert len(set(bucket.tolist())) == 1
        yield int(bucket[0]), pairs[:, : source.buckets[bucket[0]].examples].reshape(-1)


def test_an_epoch_shows_every_pair_once_in_batches_of_one_bucket():
    lengths = lengths_of()
    buckets = filled(choose_buckets(lengths, MOST, 4))
    source, of_pair = source_of(lengths, buckets), bucket_of(lengths, buckets)
    order = Order(source.size, 4, seed=3)
    shown = [Counter() for _ in buckets]
    steps = list(pairs_of(source, order, 0, 700))
    for bucket, pairs in steps:
        assert (of_pair[pairs] == bucket).all()
        assert len(pairs) == 4 * buckets[bucket].examples
        shown[bucket].update(pairs.tolist())
    for bucket, counts in enumerate(shown):
        members = np.flatnonzero(of_pair == bucket)
        each = [counts[int(member)] for member in members]
        # Never twice more than another of the bucket, and at the pace of the other buckets.
        assert max(each) - min(each) <= 1
        assert np.mean(each) == pytest.approx(np.mean(list(shown[0].values())), abs=1.1)
    assert len({bucket for bucket, _ in steps[:20]}) > 1


def test_batches_are_functions_of_seed_and_step_whatever_part_is_asked_for():
    lengths = lengths_of()
    source = source_of(lengths, filled(choose_buckets(lengths, MOST, 4)))
    order = Order(source.size, 4, seed=3)
    whole = list(pairs_of(source, order, 0, 60))
    for start, stop in ((0, 7), (23, 24), (41, 60)):
        for one, other in zip(whole[start:stop], pairs_of(source, order, start, stop)):
            assert one[0] == other[0] and (one[1] == other[1]).all()
    another = pairs_of(source, Order(source.size, 4, seed=4), 0, 60)
    assert any(a[0] != b[0] or (a[1] != b[1]).any() for a, b in zip(whole, another))
    # Two hosts send the two halves of each batch.
    parts = [next(source.send(Order(source.size, 4, 3, (part, 2)), [(5, 9)], 6)) for part in (0, 1)]
    (sent,) = source.send(order, [(5, 9)], 6)
    for name, values in sent.items():
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts], axis=1), values)
    assert (
        source.keys(order, 5)[0].split("+")
        == [str(p) for p in whole[5][1]][: len(whole[5][1]) // 4]
    )


def test_a_bucket_smaller_than_a_batch_is_repeated():
    lengths = np.array([[4, 4]] * 3 + [[64, 48]] * 40)
    source = source_of(lengths, (Bucket((4, 4), 14), Bucket(MOST, 1)))
    steps = list(pairs_of(source, Order(source.size, 8, seed=0), 0, 2000))
    counts = Counter(pair for _, pairs in steps for pair in pairs.tolist())
    assert set(counts) == set(range(43))
    few, many = (np.mean([counts[p] for p in some]) for some in (range(3), range(3, 43)))
    assert few == pytest.approx(many, rel=0.15)


def test_rows_that_are_examples_have_their_names_their_labels_and_one_length():
    lengths = lengths_of(300)[:, :1]
    buckets = choose_buckets(lengths, MOST[:1], 4)
    assert [bucket.examples for bucket in buckets] == [None] * 4
    of_text = bucket_of(lengths, buckets)
    tokens = np.where(np.arange(MOST[0]) < lengths, np.arange(300)[:, None], -1).astype(np.int32)
    columns = {"tokens": tokens, "label": np.arange(300, dtype=np.int64)}
    source, order = Bucketed(columns, lengths, buckets, lambda row: f"text:{row}"), Order(300, 8, 3)
    assert source.size == 300
    spec = source.spec(8)
    assert (spec["tokens"].shape, spec["label"].shape) == ((8, MOST[0]), (8,))
    (sent,) = source.send(order, [(0, 600)], 601)
    assert sent["example"].shape == sent["bucket"].shape == (601, 8)
    shown = Counter(sent["example"][:600].ravel().tolist())
    # 16 epochs, whose last is not over.
    assert set(shown.values()) <= {15, 16, 17}
    # A run that is resumed at a step goes on with what the whole run has there.
    (later,) = source.send(order, [(217, 230)], 13)
    for name, values in later.items():
        np.testing.assert_array_equal(values, sent[name][217:230])
    at = {name: jnp.asarray(values[0]) for name, values in later.items()}
    batch = source.batch({name: jnp.asarray(column) for name, column in columns.items()}, at)
    rows = np.asarray(batch["label"])
    assert (of_text[rows] == np.asarray(batch["bucket"])).all()
    np.testing.assert_array_equal(source.rows(order, 217), rows)
    assert source.keys(order, 217) == [f"text:{row}" for row in rows]
    np.testing.assert_array_equal(batch["tokens"], tokens[rows])


def test_operations_of_a_step_are_the_mean_over_buckets():
    """The shares of two buckets, whose products have 4 and 12 rows, are 3/4 and 1/4."""
    buckets = (Bucket((4,)), Bucket((12,)))
    lengths = np.array([[3]] * 30 + [[9]] * 10)
    source = Bucketed({"tokens": np.zeros((40, 12), np.int32)}, lengths, buckets, str)
    assert [share for share, _ in source.kinds(8)] == [0.75, 0.25]

    def step(state, batch, key):
        total = in_bucket(
            lambda part: jnp.sum(
                part["tokens"].astype(jnp.float32) @ jnp.ones((part["tokens"].shape[1], 5))
            ),
            batch,
            buckets,
            {"tokens": 0},
        )
        return {**state, "step": state["step"] + 1}, {"loss": mean_over(total[None])}

    objective = regression()._replace(
        init=lambda *_: {"step": jnp.int32(0)}, step=step, hyperparameters={}
    )
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    program = TrainProgram(objective, source, 8, 4, 0, mesh)
    expected = 2 * 8 * 5 * (0.75 * 4 + 0.25 * 12)
    assert program.operations() == (expected, expected)
    assert source.tokens == 0.75 * 4 + 0.25 * 12
