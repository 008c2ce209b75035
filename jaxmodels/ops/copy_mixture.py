"""The mixture of writing a word and copying one (See et al. 2017, equations 8 and 9), in log space.

A word has the probability p of being written, times its share of a softmax over the vocabulary,
and 1 - p of being copied, times the attention to all places of the source that have it. Numbers
from the size of the vocabulary on are words that only the source has.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_IMPOSSIBLE = -1e30  # finite, so that what is impossible has no gradient


class Mixture(NamedTuple):
    """What a pointer-generator computes at each place of a target."""

    logits: Float[Array, "batch length vocabulary"]
    scores: Float[Array, "batch length source"]  # of the attention to copy by, before its softmax
    gate: Float[Array, "batch length"]  # the logit of p


def log_likelihoods(
    mixture: Mixture,
    copied: Int[Array, "batch source"],
    valid: Bool[Array, "batch source"],
    targets: Int[Array, "batch length"],
) -> Float[Array, "batch length"]:
    """Computes the logarithm of the probability of each target.

    copied: the number of the word at each place of the source. valid: the places that are there.
    """
    vocabulary = mixture.logits.shape[-1]
    written = jnp.take_along_axis(
        jax.nn.log_softmax(mixture.logits), targets[..., None], axis=-1, mode="clip"
    )
    written = jnp.where(targets < vocabulary, written[..., 0], _IMPOSSIBLE)
    same = copied[:, None, :] == targets[..., None]
    weights = jnp.where(same, _log_attention(mixture, valid), _IMPOSSIBLE)
    return jnp.logaddexp(
        jax.nn.log_sigmoid(mixture.gate) + written,
        jax.nn.log_sigmoid(-mixture.gate) + jax.nn.logsumexp(weights, axis=-1),
    )


def log_probabilities(
    mixture: Mixture, copied: Int[Array, "batch source"], valid: Bool[Array, "batch source"]
) -> Float[Array, "batch length words"]:
    """Computes the logarithms of the probabilities of all words, which sum to one: those of the
    vocabulary, and as many as the source has places. What cannot be is -inf."""
    batch, length, vocabulary = mixture.logits.shape
    words = vocabulary + copied.shape[1]
    attention = jnp.exp(_log_attention(mixture, valid))
    places = jnp.arange(batch)[:, None], slice(None), copied
    # An index of two arrays around a slice leads with their axes.
    shares = jnp.zeros((batch, length, words)).at[places].add(attention.swapaxes(1, 2))
    room = [(0, 0), (0, 0), (0, copied.shape[1])]
    written = jnp.pad(jax.nn.log_softmax(mixture.logits), room, constant_values=-jnp.inf)
    return jnp.logaddexp(
        jax.nn.log_sigmoid(mixture.gate)[..., None] + written,
        jax.nn.log_sigmoid(-mixture.gate)[..., None] + jnp.log(shares),
    )


def _log_attention(
    mixture: Mixture, valid: Bool[Array, "batch source"]
) -> Float[Array, "batch length source"]:
    return jax.nn.log_softmax(jnp.where(valid[:, None], mixture.scores, _IMPOSSIBLE))
