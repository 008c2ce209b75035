"""The CTC loss against sums over all alignments, and what it does with texts that do not fit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmodels.ops.ctc import ctc_loss, frames_needed, possible


def case(batch, frames, labels, room, seed=0):
    """Logits with ragged lengths of frames and texts, among them an empty text."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(batch, frames, labels)).astype(np.float32) * 2
    lengths = np.r_[room, 0, rng.integers(0, room + 1, batch - 2)].astype(np.int32)
    texts = rng.integers(1, labels, (batch, room)).astype(np.int32)
    needed = frames_needed(texts, lengths)
    times = np.array([rng.integers(max(1, least), frames + 1) for least in needed], np.int32)
    return tuple(map(jnp.asarray, (logits, times, texts, lengths)))


def collapsed(path):
    return tuple(label for label, _ in itertools.groupby(path) if label)


def test_the_loss_is_the_sum_over_all_alignments():
    logits, frames, texts, lengths = case(6, 5, 4, 3)
    found = ctc_loss(logits, frames, texts, lengths)
    logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    for row, (count, text, length) in enumerate(zip(frames, texts, lengths)):
        paths = itertools.product(range(4), repeat=int(count))
        total = -np.inf
        for path in paths:
            if collapsed(path) == tuple(text[:length]):
                total = np.logaddexp(total, logs[row, np.arange(count), path].sum())
        np.testing.assert_allclose(found[row], -total, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_gradient_is_that_of_the_loss_and_nothing_behind_the_end_has_any():
    logits, frames, texts, lengths = case(4, 6, 4, 2)
    weights = jnp.arange(1.0, 5.0)

    def total(logits):
        return jnp.sum(weights * ctc_loss(logits, frames, texts, lengths))

    gradient = np.asarray(jax.grad(total)(logits))
    direction = jnp.asarray(np.random.default_rng(1).normal(size=logits.shape), jnp.float32)
    step = 1e-2
    slope = (total(logits + step * direction) - total(logits - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=2e-3)
    behind = np.arange(6) >= np.asarray(frames)[:, None]
    assert not gradient[behind].any() and gradient[~behind].any()
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-5)


@pytest.mark.slow
def test_a_text_that_does_not_fit_has_no_gradient():
    texts, lengths = jnp.array([[1, 1, 2], [1, 2, 3]]), jnp.array([3, 3])
    frames = jnp.array([3, 3])
    logits = jnp.zeros((2, 4, 5))
    assert frames_needed(np.asarray(texts), np.asarray(lengths)).tolist() == [4, 3]
    assert possible(frames, texts, lengths).tolist() == [False, True]
    losses = ctc_loss(logits, frames, texts, lengths)
    assert np.isposinf(losses[0]) and np.isfinite(losses[1])
    gradient = jax.grad(lambda x: ctc_loss(x, frames, texts, lengths).sum())(logits)
    assert np.isfinite(gradient).all() and not gradient[0].any() and gradient[1].any()
