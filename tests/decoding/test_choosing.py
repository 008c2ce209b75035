"""The next token is drawn from those that the rules leave."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxmodels.decoding import Choice, allowed_logits, choose

WORDS = 12


def _logits(batch=5, seed=0):
    return np.random.default_rng(seed).normal(0, 2, (batch, WORDS)).astype(np.float32)


def _softmax(logits):
    return scipy.special.softmax(logits.astype(np.float64))


def _allowed(logits, top_k=0, top_p=1.0, min_p=0.0):
    """Which tokens may be drawn, word by word."""
    order = np.argsort(-logits)
    if top_k:
        order = order[:top_k]
    probabilities, kept, total = _softmax(logits[order]), [], 0.0
    for word, probability in zip(order, probabilities):
        if kept and total >= top_p:
            break
        kept.append(word)
        total += probability
    most = _softmax(logits[kept]).max()
    return {w for w, p in zip(kept, _softmax(logits[kept])) if p >= min_p * most}


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"top_k": 1},
        {"top_k": 4},
        {"top_k": 99},
        {"top_p": 0.6},
        {"top_p": 1e-6},
        {"min_p": 0.2},
        {"min_p": 1.0},
        {"top_k": 6, "top_p": 0.8, "min_p": 0.1},
    ],
    ids=str,
)
def test_the_rules_leave_what_they_say(rules):
    logits = _logits()
    found = np.asarray(jax.jit(allowed_logits)(logits, Choice(**rules)))
    for row, of_row in zip(logits, found):
        kept = np.isfinite(of_row)
        assert set(np.flatnonzero(kept)) == _allowed(row, **rules)
        np.testing.assert_array_equal(of_row[kept], row[kept])


def test_all_tokens_that_are_equally_likely_at_a_limit_may_be_drawn():
    logits = np.float32([[-0.0, 0.0, -1e30, 3, 0.0, -np.inf, 3, -5]])
    for rules, kept in [
        ({"top_k": 3}, {0, 1, 3, 4, 6}),
        ({"top_p": 0.3}, {3, 6}),
        ({"top_k": 8}, None),
    ]:
        found = np.asarray(jax.jit(allowed_logits)(logits, Choice(**rules)))[0]
        assert set(np.flatnonzero(np.isfinite(found))) == (kept or set(range(8)) - {5})


def test_a_large_vocabulary_is_cut_as_by_sorting():
    logits = np.random.default_rng(3).normal(0, 2, (2, 4099)).astype(np.float32)
    rules = {"top_k": 1000, "top_p": 0.9}
    found = np.asarray(jax.jit(allowed_logits)(logits, Choice(**rules)))
    for row, of_row in zip(logits, found):
        assert set(np.flatnonzero(np.isfinite(of_row))) == _allowed(row, **rules)


def _choose(logits, choice, seed=0, seen=None):
    keys = jax.random.split(jax.random.key(seed), len(logits))
    seen = np.zeros(logits.shape, bool) if seen is None else seen
    return np.asarray(choose(keys, jnp.asarray(logits), jnp.asarray(seen), choice))


def test_tokens_come_as_often_as_they_are_likely():
    logits, count = _logits(1)[0], 20_000
    choice = Choice(temperature=0.7, top_k=5)
    drawn = _choose(np.broadcast_to(logits, (count, WORDS)), choice)
    kept = sorted(_allowed(logits, top_k=5))
    assert set(drawn) == set(kept)
    wanted = count * _softmax(logits[kept] / 0.7)
    assert scipy.stats.chisquare([np.sum(drawn == word) for word in kept], wanted).pvalue > 1e-3


def test_without_temperature_the_likeliest_is_chosen():
    logits = _logits()
    found = _choose(logits, Choice(temperature=0.0))
    np.testing.assert_array_equal(found, logits.argmax(-1))


def test_a_penalty_makes_what_was_said_less_likely_whatever_its_sign():
    logits = np.array([[2.0, 1.5, -1.0], [-1.0, -1.5, -3.0]], np.float32)
    seen = np.array([[True, False, False], [True, False, False]])
    choice = Choice(temperature=0.0, repetition_penalty=2.0)
    np.testing.assert_array_equal(_choose(logits, choice, seen=seen), [1, 1])


def test_numbers_of_a_choice_compile_nothing_anew():
    keys, logits = jax.random.split(jax.random.key(0), 5), _logits()
    program = jax.jit(choose)
    for choice in (Choice(0.5, 3, 0.9, 0.1, 1.2), Choice(0.0, 0, 1.0, 0.0, 1.0)):
        numbers = jax.tree.map(jnp.asarray, choice)
        program(keys, logits, np.zeros(logits.shape, bool), numbers)
    assert program._cache_size() == 1
