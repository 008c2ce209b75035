"""Texts of CTC's logits against sums over all texts and alignments."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.decoding import ctc
from jaxmodels.decoding.ngrams import ngrams
from jaxmodels.ops.ctc import ctc_loss

LABELS, FRAMES = 4, 3
TEXTS = [
    text for size in range(FRAMES + 1) for text in itertools.product(range(1, LABELS), repeat=size)
]
GRAMMAR = ngrams([(1, 2, 3), (1, 2), (2, 3, 3)], LABELS, 3)


def logits_of(batch, seed=0):
    rng = np.random.default_rng(seed)
    frames = np.r_[FRAMES, 1, rng.integers(1, FRAMES + 1, batch - 2)].astype(np.int32)
    logits = 1.5 * rng.normal(size=(batch, FRAMES, LABELS))
    return jnp.asarray(logits, jnp.float32), jnp.asarray(frames)


def likelihoods(logits, count):
    """The logarithm of the probability of every text, of one sound."""
    rows = np.zeros((len(TEXTS), FRAMES), np.int32)
    for row, text in zip(rows, TEXTS):
        row[: len(text)] = text
    lengths = np.array([len(text) for text in TEXTS], np.int32)
    given = jnp.broadcast_to(logits, (len(TEXTS), *logits.shape)), jnp.full(len(TEXTS), count)
    return -np.asarray(ctc_loss(*given, jnp.asarray(rows), jnp.asarray(lengths)))


def said(text, weight, bonus):
    state, total = GRAMMAR.start, 0.0
    for label in text:
        total += weight * float(GRAMMAR.scores[state, label]) + bonus
        state = int(GRAMMAR.after[state, label])
    return total + weight * float(GRAMMAR.ends[state])


def test_a_search_with_room_for_all_prefixes_finds_the_likeliest_text():
    logits, frames = logits_of(4)
    options = {"beams": 40, "room": FRAMES}
    plain = ctc.search(logits, frames, **options)
    helped = ctc.search(logits, frames, **options, grammar=GRAMMAR, weight=0.7, bonus=0.3)
    added = np.array([said(text, 0.7, 0.3) for text in TEXTS])
    for row, count in enumerate(frames):
        own = likelihoods(logits[row], count)
        for found, scores in ((plain, own), (helped, own + added)):
            best = int(np.argmax(scores))
            assert tuple(found.labels[row][: found.length[row]].tolist()) == TEXTS[best]
            np.testing.assert_allclose(found.score[row], scores[best], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_few_beams_find_no_better_text_and_one_more_room_changes_nothing():
    logits, frames = logits_of(4, seed=1)
    best = ctc.search(logits, frames, beams=40, room=FRAMES)
    few = ctc.search(logits, frames, beams=3, room=FRAMES + 2)
    assert (np.asarray(few.score) <= np.asarray(best.score) + 1e-5).all()
    assert not few.labels[:, FRAMES:].any()


def test_the_likeliest_path_loses_repetitions_and_then_blanks():
    path = np.array([[1, 1, 0, 1, 2, 2, 0], [0, 0, 0, 3, 3, 3, 3]])
    logits = 5.0 * jnp.eye(4)[path]
    found = ctc.greedy(logits, jnp.array([7, 5]))
    assert found.length.tolist() == [3, 1]
    assert found.labels[0, :3].tolist() == [1, 1, 2] and found.labels[1, 0] == 3
    assert not found.labels[0, 3:].any()


def test_ngrams_are_probabilities_and_prefer_what_was_said():
    scores, ends = np.asarray(GRAMMAR.scores), np.asarray(GRAMMAR.ends)
    np.testing.assert_allclose(np.exp(scores).sum(1) + np.exp(ends), 1, rtol=1e-5)
    after_1 = int(GRAMMAR.after[GRAMMAR.start, 1])
    assert scores[after_1, 2] == scores[after_1].max()
    after_12 = int(GRAMMAR.after[after_1, 2])
    # Half of what came after 1 2 was its end: the estimate for it is above that of a shorter past.
    assert ends[after_12] > ends[GRAMMAR.start]
