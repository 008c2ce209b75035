"""Beams that remember who wrote what attend as beams that copy it."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.decoding.caches import reordered, repeated
from jaxmodels.models.layers.attention import Cache, attention, cached_attention
from jaxmodels.models.layers.beam_attention import Remembered, attention_to

TEXTS, BEAMS, LENGTH, GROUPS, HEADS, SIZE = 2, 3, 6, 2, 4, 4
ROWS = TEXTS * BEAMS


@pytest.fixture
def draw():
    generator = np.random.default_rng(0)
    return lambda *shape: jnp.asarray(generator.normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("window", [0, 3])
def test_beams_attend_as_if_their_keys_were_copied(draw, window):
    before = Cache(*(draw(TEXTS, LENGTH, GROUPS, SIZE) for _ in range(2)))
    copied = Cache(*(jnp.repeat(array, BEAMS, axis=0) for array in before))
    cache = repeated(before, BEAMS)
    parents = jnp.array([[2, 0, 0], [1, 1, 2]])
    rows = (jnp.arange(TEXTS)[:, None] * BEAMS + parents).reshape(-1)
    start, new = jnp.array([1, 2]), 1
    for _ in range(3):
        given = draw(ROWS, new, HEADS, SIZE), *(draw(ROWS, new, GROUPS, SIZE) for _ in range(2))
        how = {"bias": draw(ROWS, HEADS, new, LENGTH), "window": window}
        places = jnp.repeat(start, BEAMS)
        wanted, copied = cached_attention(*given, copied, places, **how)
        found, cache = cached_attention(*given, cache, places, **how)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        start = start + new
        copied = Cache(*(jnp.take(array, rows, axis=0) for array in copied))
        cache = reordered(cache, parents, start)
    assert cache.length == copied.length == LENGTH


def test_all_beams_of_a_text_read_its_memory(draw):
    query = draw(ROWS, 2, HEADS, SIZE)
    memory = [draw(TEXTS, 5, GROUPS, SIZE) for _ in range(2)]
    for valid in (
        None,
        jnp.array([[True] * 5, [False] * 5]),
        jnp.arange(5) < jnp.array([[4], [2]]),
    ):
        found = attention_to(query, Remembered.of(*memory), valid, 0.7)
        each = [jnp.repeat(array, BEAMS, axis=0) for array in memory]
        there = None if valid is None else jnp.repeat(valid, BEAMS, axis=0)
        wanted = attention(query, *each, causal=False, valid=there, scale=0.7)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
