"""Sample order: a function of (seed, step), every example once an epoch."""

import numpy as np
import pytest

from jaxmodels import order as module
from jaxmodels.data import sample_order
from jaxmodels.order import Order, permutation, shuffled


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (7, 7), (5, 3), (64, 1)])
def test_every_epoch_shows_every_example_once(size, batch):
    epochs = 3
    flat = sample_order(size, batch, 3, 0, size * epochs).ravel()[: size * epochs]
    for epoch in flat.reshape(epochs, size):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(size))


def test_formula_example_by_example():
    size, batch, seed = 11, 4, 9
    order = sample_order(size, batch, seed, 2, 9)
    for row, step in enumerate(range(2, 9)):
        for column in range(batch):
            epoch, offset = divmod(step * batch + column, size)
            assert order[row, column] == permutation(size, seed, epoch)[offset]


def test_steps_do_not_depend_on_how_they_are_asked_for():
    whole = sample_order(50, 8, 1, 0, 40)
    parts = [sample_order(50, 8, 1, a, b) for a, b in ((0, 1), (1, 17), (17, 40))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_epochs_and_seeds_differ():
    orders = {permutation(100, seed, epoch).tobytes() for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_the_order_is_this_one_in_every_version_of_numpy():
    assert permutation(8, seed=0, epoch=0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert permutation(8, seed=1, epoch=2).tolist() == [4, 2, 0, 6, 1, 5, 7, 3]


def test_far_steps_do_not_overflow():
    step = 2**40
    order = sample_order(1000, 512, 0, step, step + 1)
    epoch, offset = divmod(step * 512, 1000)
    assert order[0, 0] == permutation(1000, 0, epoch)[offset]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 11, 16])
def test_one_pass_has_every_example_once_and_is_filled_up(batch_size):
    order = Order(11, batch_size)
    rows, positions = (f(0, order.batches).ravel() for f in (order.rows, order.positions))
    assert len(rows) == order.batches * batch_size
    np.testing.assert_array_equal(positions, np.arange(len(rows)))
    np.testing.assert_array_equal(rows[positions < 11], np.arange(11))
    assert (rows[11:] == 10).all()


@pytest.mark.parametrize("seed", [None, 5])
def test_the_parts_of_all_hosts_make_the_batch(seed):
    whole = Order(11, 8, seed)
    parts = [Order(11, 8, seed, (index, 4)) for index in range(4)]
    for name in ("rows", "positions"):
        expected = getattr(whole, name)(1, 4)
        found = [getattr(part, name)(1, 4) for part in parts]
        assert {part.shape for part in found} == {(3, 2)}
        np.testing.assert_array_equal(np.concatenate(found, axis=1), expected)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1000, 4097])
def test_the_order_without_a_sort_shows_every_example_once(size):
    orders = [shuffled(np.arange(size), size, *key) for key in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(size))
        some = np.array([size - 1, 0, size // 2])
        assert (shuffled(some, size, 0, 0) == orders[0][some]).all()
    assert size < 64 or len({order.tobytes() for order in orders}) == 3


def test_the_order_without_a_sort_looks_random():
    size = 40_000
    orders = np.stack([shuffled(np.arange(size), size, 7, epoch) for epoch in range(4)])
    # Neither places and examples nor neighbours nor epochs are correlated: 5 deviations of chance.
    pairs = [(np.arange(size), orders[0]), (orders[0][1:], orders[0][:-1]), (orders[0], orders[1])]
    for a, b in pairs:
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(size)
    # How many of 200 equal ranges of examples fall on each of 200 ranges of places: chi-squared.
    counts = np.histogram2d(np.arange(size), orders[2], bins=200)[0]
    assert abs((np.square(counts - 1).sum() - 200**2) / np.sqrt(2 * 200**2)) < 5


def test_large_data_is_ordered_without_a_sort():
    size = module.MOST_SORTED + 1
    order = sample_order(size, 8, 3, size // 8 - 1, size // 8 + 3)
    flat = np.arange((size // 8 - 1) * 8, (size // 8 + 3) * 8)
    expected = [shuffled(flat[flat // size == e] % size, size, 3, e) for e in (0, 1)]
    np.testing.assert_array_equal(order.ravel(), np.concatenate(expected))
    huge = 2**40
    rows = Order(huge, 4, 0).rows(2**36, 2**36 + 5)
    assert rows.shape == (5, 4) and (rows >= 0).all() and (rows < huge).all()
    assert (rows > 2**32).any()
    assert Order(huge, 4).rows(2**37, 2**37 + 1).tolist() == [
        [2**39, 2**39 + 1, 2**39 + 2, 2**39 + 3]
    ]
