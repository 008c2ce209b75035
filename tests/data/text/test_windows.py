"""Windows against brute force: which tokens are seen when, and each scored once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmodels.data.text import ContiguousWindows, RandomWindows, SlidingWindows
from jaxmodels.errors import InputError
from jaxmodels.order import Order, permutation

SETTINGS = settings(max_examples=100, deadline=None)


@SETTINGS
@given(st.integers(1, 20), st.integers(0, 300), st.integers(0, 5))
def test_random_windows_show_every_token_once_an_epoch(context, more, seed):
    length = context + 1 + more
    windows = RandomWindows(length, context)
    order = Order(windows.size, 1, seed)
    starts = windows.places(order, 0, 3 * windows.size)["start"].reshape(3, windows.size)
    for epoch in range(3):
        targets = np.sort((starts[epoch][:, None] + 1 + np.arange(context)).ravel())
        first = starts[epoch].min() + 1
        np.testing.assert_array_equal(targets, np.arange(first, first + len(targets)))
        assert first > 0 and targets[-1] < length
        assert length - len(targets) < 2 * context + (length < 2 * context)
        shuffled = permutation(windows.size, seed, epoch) * context + starts[epoch].min()
        np.testing.assert_array_equal(starts[epoch], shuffled)


def test_random_windows_begin_anywhere_and_depend_on_seed_and_step_alone():
    windows = RandomWindows(1000, 10)
    assert {windows.offset(0, epoch) for epoch in range(200)} == set(range(10))
    assert {windows.offset(seed, 0) for seed in range(200)} == set(range(10))
    order = Order(windows.size, 8, 3)
    whole = windows.places(order, 0, 40)["start"]
    parts = [windows.places(order, *span)["start"] for span in ((0, 1), (1, 17), (17, 40))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    hosts = [windows.places(Order(windows.size, 8, 3, (i, 2)), 0, 40)["start"] for i in (0, 1)]
    np.testing.assert_array_equal(whole, np.concatenate(hosts, axis=1))
    huge = RandomWindows(2**45, 1024)
    starts = huge.places(Order(huge.size, 4, 0), 2**33, 2**33 + 9)["start"]
    assert (starts % 1024 == starts[0, 0] % 1024).all() and (starts >= 0).all()
    assert starts.max() > 2**40 and starts.max() + 1025 <= 2**45


def test_every_start_is_equally_likely():
    windows, order = RandomWindows(60, 5), Order(RandomWindows(60, 5).size, 1, 1)
    starts = windows.places(order, 0, 4000 * windows.size)["start"].ravel()
    counts = np.bincount(starts, minlength=55)
    assert len(counts) == 55  # of 5 offsets and 11 windows, 800 times each
    assert np.square(counts - 800).sum() / 800 < 54 + 5 * np.sqrt(2 * 54)


@SETTINGS
@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 200))
def test_contiguous_rows_go_on_where_they_stopped(context, batch, more):
    length = context * batch + 1 + more
    windows = ContiguousWindows(length, context)
    assert windows.size >= batch
    steps = (length - 1) // batch // context
    starts = windows.places(Order(windows.size, batch, 0), 0, 2 * steps)["start"]
    strip = (length - 1) // batch
    for row in range(batch):
        expected = [row * strip + step * context for step in range(steps)] * 2
        assert starts[:, row].tolist() == expected
    targets = (starts[:steps].ravel()[:, None] + 1 + np.arange(context)).ravel()
    assert len(set(targets.tolist())) == len(targets) and targets.max() < length


@SETTINGS
@given(st.integers(1, 12), st.integers(1, 12), st.integers(2, 90))
def test_sliding_windows_score_every_token_once(context, stride, length):
    stride = min(stride, context)
    windows = SlidingWindows(length, context, stride)
    places = windows.of(np.arange(windows.size))
    scored = []
    for start, skip in zip(places["start"].tolist(), places["skip"].tolist()):
        targets = [
            start + 1 + at for at in range(context) if at >= skip and start + 1 + at < length
        ]
        assert targets
        scored += targets
        # It is predicted from at least context - stride + 1 tokens, or from all before it.
        assert all(target - start >= min(target, context - stride + 1) for target in targets)
    assert scored == list(range(1, length))
    assert places["start"].max() + context + 1 <= max(length, context + 1)
    order = Order(windows.size, 4)
    rows = windows.places(order, 0, order.batches)["start"].ravel()
    np.testing.assert_array_equal(rows[: windows.size], places["start"])


def test_windows_that_are_impossible():
    for kind in (RandomWindows, ContiguousWindows):
        assert kind(11, 10).size == 1
        with pytest.raises(
            InputError, match=r"context = 10; the training split has 10 tokens.*most 9"
        ):
            kind(10, 10)
    for stride in (0, 11):
        with pytest.raises(InputError, match=f"stride = {stride}; expected 1 to context = 10"):
            SlidingWindows(20, 10, stride)
    with pytest.raises(InputError, match="a split has 1 tokens"):
        SlidingWindows(1, 10, 5)
