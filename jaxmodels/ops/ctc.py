"""Connectionist temporal classification (Graves et al. 2006): the loss of a text whose places in
time are not known, with gradients that are computed beside it.

Everything is in log space. Texts become the states "blank, first, blank, second, ..., blank", and
each direction is one recursion over frames; both run as one loop.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

_LEAST = -1e30  # the logarithm of zero, finite so that differences of it are numbers
_POSSIBLE = -1e29  # logarithms of likelihoods above this are of alignments that exist


class _States(NamedTuple):
    """The states of texts, in both directions: the rows of texts read backwards come second."""

    emissions: Float[Array, "frames both states"]  # log-probabilities of their labels
    skips: Float[Array, "both states"]  # 0 where the blank before may be left out, else _LEAST
    labels: Int[Array, "both states"]


@jax.custom_vjp
def ctc_loss(
    logits: Float[Array, "batch frames labels"],
    frames: Int[Array, " batch"],
    texts: Int[Array, "batch room"],
    lengths: Int[Array, " batch"],
) -> Float[Array, " batch"]:
    """Computes -log of the probability of each text, summed over all alignments (Graves et al.
    2006, equations 6-8). Label 0 is the blank.

    Equals torch.nn.functional.ctc_loss without reduction. A text that needs more frames than there
    are (see `frames_needed`) has the loss inf and the gradient 0, so that it never reaches the
    weights; leave it out of what is averaged.

    frames: how many frames of each row count, at least 1.
    texts: labels of texts, from 1 on; the first `lengths` of each row count, the others are any
      labels.
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    states = _states_of(log_probabilities, frames, texts, lengths, both=False)
    return _as_loss(_totals(*_recursion(states), frames, lengths))


def frames_needed(
    texts: Int[np.ndarray, "text room"], lengths: Int[np.ndarray, " text"]
) -> Int[np.ndarray, " text"]:
    """Counts the frames that each text needs at least: one a label, and one for the blank between
    two equal labels."""
    again = texts[:, 1:] == texts[:, :-1]
    there = np.arange(1, texts.shape[1]) < lengths[:, None]
    return lengths + np.sum(again & there, axis=1)


def possible(
    frames: Int[Array, " batch"], texts: Int[Array, "batch room"], lengths: Int[Array, " batch"]
) -> Bool[Array, " batch"]:
    """Marks the texts that so many frames can say."""
    again = texts[:, 1:] == texts[:, :-1]
    there = jnp.arange(1, texts.shape[1]) < lengths[:, None]
    return frames >= lengths + jnp.sum(again & there, axis=1)


def _forward(logits, frames, texts, lengths):
    """Computes the losses, and the gradient of each in its logits."""
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    states = _states_of(log_probabilities, frames, texts, lengths, both=True)
    found, scales = _recursion(states)
    batch, count = logits.shape[:2]
    alphas, backwards = jnp.split(found, 2, axis=1)
    totals = _totals(alphas, scales[:, :batch], frames, lengths)
    emissions = states.emissions[:, :batch].swapaxes(0, 1)
    # What was read backwards is put in order: frame t, state s of row r is its frame F - 1 - t,
    # state 2 N - s.
    size = emissions.shape[2]
    betas = _reversed(backwards.swapaxes(0, 1), count - frames, size - 1 - 2 * lengths)
    # Both directions have the frame's own emission in them. At each frame every alignment is in one
    # of the states, so that what the recursions are scaled by drops out.
    shares = alphas.swapaxes(0, 1) + betas - emissions
    is_state = jnp.arange(size) <= 2 * lengths[:, None]
    shares = jax.nn.softmax(jnp.where(is_state[:, None, :], shares, _LEAST), axis=-1)
    labels = jax.nn.one_hot(states.labels[:batch], logits.shape[-1], dtype=shares.dtype)
    occupied = jnp.einsum("bts,bsl->btl", shares, labels)
    there = (jnp.arange(count) < frames[:, None]) & (totals > _POSSIBLE)[:, None]
    gradients = jnp.where(there[:, :, None], jnp.exp(log_probabilities) - occupied, 0.0)
    return _as_loss(totals), gradients.astype(logits.dtype)


def _backward(gradients, of_losses):
    scaled = jnp.where(of_losses == 0, 0.0, of_losses)[:, None, None].astype(gradients.dtype)
    return scaled * gradients, None, None, None


ctc_loss.defvjp(_forward, _backward)


def _states_of(log_probabilities, frames, texts, lengths, both: bool) -> _States:
    """Makes the states of texts, with `both` also of those read backwards."""
    count = log_probabilities.shape[1]
    room = texts.shape[1]
    given = jnp.maximum(log_probabilities, _LEAST)
    if both:
        # Backwards, the last frame and the last label come first.
        again = _reversed(given, count - frames, jnp.zeros_like(frames), axes=(1,))
        given = jnp.concatenate([given, again])
        order = jnp.clip(lengths[:, None] - 1 - jnp.arange(room), 0, max(room - 1, 0))
        texts = jnp.concatenate([texts, jnp.take_along_axis(texts, order, axis=1)])
    labels = jnp.zeros((len(texts), 2 * room + 1), texts.dtype).at[:, 1::2].set(texts)
    # A product with ones and zeros is as exact as an index, and far faster on a CPU.
    chosen = jax.nn.one_hot(labels, given.shape[-1], dtype=given.dtype)
    exact = jax.lax.Precision.HIGHEST
    emissions = jnp.einsum("btl,bsl->tbs", given, chosen, precision=exact)
    before = jnp.pad(labels, ((0, 0), (2, 0)))[:, :-2]
    may_skip = (labels != 0) & (labels != before)
    skips = jnp.where(may_skip, 0.0, _LEAST).at[:, :2].set(_LEAST)
    return _States(emissions, skips, labels)


def _reversed(x, later, higher, axes=(1, 2)):
    """Reverses axes of each row, without so many of the frames and states that then come first;
    what is behind the end is 0."""
    _, count, size = x.shape
    padded = jnp.pad(jnp.flip(x, axes), ((0, 0), (0, count), (0, size)))
    window = (count, size)
    # Whole windows are copied in order, which is several times as fast as an index per number.
    return jax.vmap(lambda row, *at: jax.lax.dynamic_slice(row, at, window))(padded, later, higher)


def _recursion(
    states: _States,
) -> tuple[Float[Array, "frames both states"], Float[Array, "frames both"]]:
    """Computes the log-probability of all ways to each state at each frame, relative to a scale,
    and the scale of each frame relative to that of the frame before.

    The scale keeps numbers near zero, where float32 is fine: those of long texts are in hundreds.
    """
    size = states.labels.shape[1]
    starts = jnp.where(jnp.arange(size) < 2, states.emissions[0], _LEAST)

    def step(before, emission):
        one = jnp.pad(before, ((0, 0), (1, 0)), constant_values=_LEAST)[:, :-1]
        two = jnp.pad(before, ((0, 0), (2, 0)), constant_values=_LEAST)[:, :size] + states.skips
        most = jnp.maximum(jnp.maximum(before, one), two)
        total = jnp.exp(before - most) + jnp.exp(one - most) + jnp.exp(two - most)
        after = jnp.maximum(most + jnp.log(total) + emission, _LEAST)
        scale = jnp.max(after, axis=1)
        after = after - scale[:, None]
        return after, (after, scale)

    _, (later, scales) = jax.lax.scan(step, starts, states.emissions[1:])
    scales = jnp.pad(scales, ((1, 0), (0, 0)))
    return jnp.concatenate([starts[None], later]), scales


def _totals(alphas, scales, frames, lengths) -> Float[Array, " batch"]:
    """Computes the log-probability of ending in the last label or in the blank after it."""
    rows = jnp.arange(len(frames))
    last = alphas[jnp.maximum(frames - 1, 0), rows]
    blank = last[rows, 2 * lengths]
    label = jnp.where(lengths > 0, last[rows, jnp.maximum(2 * lengths - 1, 0)], _LEAST)
    counts = jnp.arange(len(scales))[:, None] < frames
    return jnp.logaddexp(blank, label) + jnp.sum(jnp.where(counts, scales, 0.0), axis=0)


def _as_loss(totals):
    return jnp.where(totals > _POSSIBLE, -totals, jnp.inf)
