"""What is made ahead arrives in order, errors too; waiting counts where the device idles."""

import threading
import time

import pytest

from jaxmodels.train.feed import Feed


def _numbers(count, seconds=0.0, closed=None):
    try:
        for number in range(count):
            time.sleep(seconds)
            yield number
    finally:
        if closed is not None:
            closed.set()


def test_items_arrive_in_order_and_the_generator_is_closed():
    closed = threading.Event()
    with Feed(_numbers(50, closed=closed), idle=lambda: True) as feed:
        assert list(feed) == list(range(50))
    assert closed.is_set()


def test_one_is_made_ahead_and_no_more():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    with Feed(items(), idle=lambda: True) as feed:
        iterator = iter(feed)
        next(iterator)
        time.sleep(0.3)
        # One is in use, one waits, one is made and has no place yet.
        assert made == [0, 1, 2]


def test_leaving_early_ends_the_thread():
    closed = threading.Event()
    with Feed(_numbers(10**9, closed=closed), idle=lambda: True) as feed:
        assert next(iter(feed)) == 0
    assert closed.is_set()


def test_an_error_is_raised_where_the_item_is_asked_for():
    def items():
        yield 1
        raise ValueError("a broken record")

    with Feed(items(), idle=lambda: True) as feed:
        iterator = iter(feed)
        assert next(iterator) == 1
        with pytest.raises(ValueError, match="a broken record"):
            next(iterator)


def test_only_time_in_which_the_device_idles_counts_as_waiting():
    with Feed(_numbers(5, seconds=0.05), idle=lambda: True) as feed:
        list(feed)
    assert 0.15 < feed.waited < 1.0
    with Feed(_numbers(5, seconds=0.05), idle=lambda: False) as feed:
        list(feed)
    assert feed.waited == 0
