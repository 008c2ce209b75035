"""The likeliest texts are found: as by trying all, and with one beam as by greedy choices."""

import itertools
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.decoding import (
    Choice,
    Step,
    at_least,
    begin,
    extend,
    forced,
    no_repeats,
    search,
    without,
)
from jaxmodels.decoding.beams import largest

WORDS, MOST, ROOM, END = 4, 4, 8, 2
PREFIXES = [(1,), (3, 0), (0,)]
WEIGHTS = np.random.default_rng(0).normal(0, 1.5, (ROOM, WORDS, WORDS))
ALL = {"beams": WORDS ** (MOST - 1), "most": MOST, "end": END, "stop": "exact"}


def _logits(text, row=0):
    """Each token of a text, by its place, has a say in what follows; and the row's source has."""
    after = sum(WEIGHTS[place, token] for place, token in enumerate(text))
    return after + np.sin(np.arange(WORDS) + row)


def _log_probabilities(text, row=0):
    logits = _logits(text, row)
    return logits - np.log(np.exp(logits).sum())


def _decode(tokens, cache, start, at):
    """Knows earlier tokens from its cache alone."""
    (written,) = cache
    rows, new = tokens.shape
    places = start[:, None] + jnp.arange(new)
    written = written.at[jnp.arange(rows)[:, None], places].set(tokens)
    table = jnp.asarray(WEIGHTS, jnp.float32)
    each = table[jnp.arange(written.shape[1]), written]
    seen = jnp.arange(written.shape[1]) <= (start + at)[:, None]
    sources = jnp.arange(rows) // (rows // len(PREFIXES))  # of beams, the same one
    logits = jnp.sum(jnp.where(seen[..., None], each, 0), axis=1)
    return (logits + jnp.sin(jnp.arange(WORDS) + sources[:, None] * 1.0))[:, None], (written,)


STEP = Step(_decode, lambda batch, length: (jnp.zeros((batch, length), jnp.int32),))


def _prefixes():
    tokens = np.zeros((3, 2), np.int32)
    for row, prefix in enumerate(PREFIXES):
        tokens[row, : len(prefix)] = prefix
    return jnp.asarray(tokens), jnp.array([len(prefix) for prefix in PREFIXES])


def _all_texts(row, penalty, most=MOST, allowed=lambda text: True):
    """Scores all texts that end, or are as long as they may be: the best first."""
    scored, prefix = [], PREFIXES[row]
    for count in range(1, most + 1):
        for more in itertools.product(range(WORDS), repeat=count):
            is_whole = more[-1] == END or count == most
            if END in more[:-1] or not is_whole or not allowed((*prefix, *more)):
                continue
            total = sum(
                _log_probabilities((*prefix, *more[:i]), row)[more[i]] for i in range(count)
            )
            scored.append((total / count**penalty, (*prefix, *more)))
    return sorted(scored, reverse=True)


def _texts(found, row):
    return [tuple(map(int, t[:n])) for t, n in zip(found.tokens[row], found.length[row])]


@lru_cache(None)
def _program(**options):
    return jax.jit(partial(search, STEP, **options))


def _search(penalty=1.0, limit=None, **options):
    limit = jnp.full(3, options["most"]) if limit is None else jnp.array(limit)
    return _program(**options)(*_prefixes(), length_penalty=jnp.float32(penalty), limit=limit)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -0.5])
def test_a_wide_search_finds_the_best_of_all_texts_in_their_order(penalty):
    found = _search(penalty, **ALL)
    for row in range(3):
        wanted = _all_texts(row, penalty)[: ALL["beams"]]
        assert _texts(found, row) == [text for _, text in wanted]
        np.testing.assert_allclose(found.score[row], [s for s, _ in wanted], rtol=1e-4, atol=1e-5)
        behind = np.arange(2 + MOST) >= np.asarray(found.length)[row][:, None]
        assert np.asarray(found.tokens)[row][behind].tolist() == [END] * behind.sum()


def test_rows_have_limits_of_their_own():
    found = _search(limit=[1, 4, 2], **ALL)
    for row, most in enumerate([1, 4, 2]):
        wanted = _all_texts(row, 1.0, most)
        count = int(np.isfinite(found.score[row]).sum())
        assert count == min(len(wanted), ALL["beams"])
        assert _texts(found, row)[:count] == [text for _, text in wanted][:count]


@pytest.mark.parametrize(
    "rules, allowed",
    [
        ((no_repeats(2),), lambda text: len(set(itertools.pairwise(text))) == len(text) - 1),
        ((at_least(4, END),), lambda text: END not in text[:4]),
        ((without([3, 0]),), lambda text: {3, 0}.isdisjoint(text[2 - (text[0] != 3) :])),
        ((without([3], at=2),), lambda text: text[0] == 3 or text[2:3] != (3,)),
    ],
    ids=["no_repeats", "at_least", "without", "without_at"],
)
def test_rules_hold_in_searched_texts(rules, allowed):
    found = _search(rules=rules, **ALL)
    for row in (0, 2):
        wanted = _all_texts(row, 1.0, allowed=allowed)
        count = int(np.isfinite(found.score[row]).sum())
        assert 1 < count == min(len(wanted), ALL["beams"])
        assert _texts(found, row)[:count] == [text for _, text in wanted][:count]


def test_one_beam_is_the_greedy_text_and_rules_are_the_same():
    rules = (no_repeats(2), forced(3, at=3))
    found = _search(beams=1, most=6, end=END, rules=rules)
    tokens, length = _prefixes()
    keys = jax.random.split(jax.random.key(0), 3)
    room = jnp.pad(tokens, ((0, 0), (0, 6)), constant_values=END)
    writing = begin(STEP, room, length, ROOM)
    writing = extend(STEP, writing, 6, keys, Choice(temperature=0.0), END, ROOM, rules)
    for row, text in enumerate(np.asarray(writing.tokens)):
        size = min(int(writing.length[row]), len(PREFIXES[row]) + 6)
        assert _texts(found, row) == [tuple(text[:size].tolist())]
        assert size <= 3 or text[3] == 3


def test_rules_hold_in_drawn_texts():
    tokens, length = _prefixes()
    room = jnp.pad(tokens, ((0, 0), (0, 6)))
    keys, rules = jax.random.split(jax.random.key(0), 3), (no_repeats(2), without([1]))
    drawn = extend(STEP, begin(STEP, room, length, ROOM), 6, keys, Choice(2.0), -1, ROOM, rules)
    for row, text in enumerate(np.asarray(drawn.tokens)):
        text = text[: int(drawn.length[row])].tolist()
        assert len(text) == len(PREFIXES[row]) + 6 and 1 not in text[1:]
        assert len(set(itertools.pairwise(text))) == len(text) - 1


def test_a_row_does_not_depend_on_the_others():
    options = {"beams": 2, "most": MOST, "end": END}
    alone = [[MOST if row == other else 0 for other in range(3)] for row in range(3)]
    together = _search(**options)
    for row, limit in enumerate(alone):
        found = _search(limit=limit, **options)
        assert _texts(found, row) == _texts(together, row)
        np.testing.assert_array_equal(found.score[row], together.score[row])
        assert np.isinf(found.score[1 - (row > 0)]).all()


def test_a_complete_search_finds_the_same_with_more_room():
    options = {"beams": 2, "end": END}
    least, short, long = (_search(most=most, **options) for most in (3, 4, 6))
    assert not least.complete.any() and _texts(least, 2) != _texts(long, 2)
    assert short.complete.tolist() == [False, True, False] and long.complete.all()
    assert _texts(short, 1) == _texts(long, 1)
    np.testing.assert_array_equal(short.score[1], long.score[1])


def test_the_largest_numbers_of_long_rows_are_those_of_sorting():
    values = np.random.default_rng(0).integers(0, 90, (3, 17_000)).astype(np.float32)
    values[0, :], values[1, 16_999], values[2, :5] = -np.inf, 91, np.inf
    found, places = jax.jit(partial(largest, count=9))(values)
    order = np.argsort(-values, axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(places[1:], order[1:])
    np.testing.assert_array_equal(found, np.take_along_axis(values, order, 1))
