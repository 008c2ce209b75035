"""How the next token is chosen from its logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Number = Float[Array, ""] | float


class Choice(NamedTuple):
    """Numbers of a choice, all of which may be traced.

    temperature: divides the logits; 0: the likeliest token is chosen.
    top_k: only so many of the likeliest tokens are drawn from (Fan et al. 2018, section 5); 0: all.
    top_p: only the likeliest tokens that together have this probability are, the one that reaches
      it included (Holtzman et al. 2020, section 3.1); 1: all.
    min_p: only tokens at least this share as likely as the likeliest (Nguyen et al. 2024); 0: all.
    repetition_penalty: divides positive logits of tokens that the text has already and multiplies
      negative ones (Keskar et al. 2019, section 4.1); 1: none.
    """

    temperature: Number = 1.0
    top_k: Int[Array, ""] | int = 0
    top_p: Number = 1.0
    min_p: Number = 0.0
    repetition_penalty: Number = 1.0


def choose(
    keys: Key[Array, " batch"],
    logits: Float[Array, "batch vocabulary"],
    seen: Bool[Array, "batch vocabulary"],
    choice: Choice,
) -> Int[Array, " batch"]:
    """Chooses a token for each row.

    seen: the tokens that the row's text has.
    """
    logits = penalized(logits, seen, choice.repetition_penalty)
    likeliest = jnp.argmax(logits, axis=-1)
    warm = logits / jnp.maximum(choice.temperature, jnp.finfo(jnp.float32).tiny)
    drawn = jax.vmap(jax.random.categorical)(keys, allowed_logits(warm, choice))
    return jnp.where(jnp.asarray(choice.temperature) > 0, drawn, likeliest).astype(jnp.int32)


def penalized(
    logits: Float[Array, "batch vocabulary"], seen: Bool[Array, "batch vocabulary"], penalty: Number
) -> Float[Array, "batch vocabulary"]:
    """Applies the repetition penalty to the tokens that were seen."""
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def allowed_logits(
    logits: Float[Array, "batch vocabulary"], choice: Choice
) -> Float[Array, "batch vocabulary"]:
    """Sets the logits of tokens that may not be drawn to -inf; the likeliest always may.

    The rules apply one after another: top_k, then top_p to what it leaves, then min_p, as in
    transformers. Of tokens that are equally likely at a limit, all may be drawn.
    """
    is_cut = (jnp.asarray(choice.top_k) > 0) | (jnp.asarray(choice.top_p) < 1)
    # Sorting a vocabulary takes as long as a small model's pass.
    logits = jax.lax.cond(is_cut, _cut, lambda logits, _: logits, logits, choice)
    least = jnp.max(logits, axis=-1, keepdims=True) + jnp.log(choice.min_p)
    return jnp.where(logits >= least, logits, -jnp.inf)


def _cut(
    logits: Float[Array, "batch vocabulary"], choice: Choice
) -> Float[Array, "batch vocabulary"]:
    """Applies top_k and top_p."""
    size = logits.shape[-1]
    descending = -jnp.sort(-logits, axis=-1)
    count = jnp.where(jnp.asarray(choice.top_k) > 0, choice.top_k, size)
    rank = jnp.arange(size)
    kept = jnp.where(rank < count, descending, -jnp.inf)
    probabilities = jax.nn.softmax(kept, axis=-1)
    # The probability of all tokens that are likelier.
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    is_kept = (rank < count) & ((before < choice.top_p) | (rank == 0))
    # The least likely that is kept.
    limit = jnp.min(jnp.where(is_kept, descending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= limit, logits, -jnp.inf)
