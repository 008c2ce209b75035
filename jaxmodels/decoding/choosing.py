"""How the next token is chosen from its logits."""

from collections.abc import Callable
from functools import partial
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
    is_drawn = jnp.asarray(choice.temperature) > 0

    def draw(logits):
        warm = logits / jnp.maximum(choice.temperature, jnp.finfo(jnp.float32).tiny)
        return jax.vmap(jax.random.categorical)(keys, allowed_logits(warm, choice))

    # Noise for a whole vocabulary takes a share of a small model's pass.
    chosen = jax.lax.cond(is_drawn, draw, partial(jnp.argmax, axis=-1), logits)
    return chosen.astype(jnp.int32)


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
    # Most choices need no limit, and the search for it takes time.
    logits = jax.lax.cond(is_cut, _cut, lambda logits, _: logits, logits, choice)
    least = jnp.max(logits, axis=-1, keepdims=True) + jnp.log(choice.min_p)
    return jnp.where(logits >= least, logits, -jnp.inf)


def _cut(
    logits: Float[Array, "batch vocabulary"], choice: Choice
) -> Float[Array, "batch vocabulary"]:
    """Applies top_k and top_p.

    A limit is found by halving the range of logits, because sorting a vocabulary on a CPU takes as
    long as a small model's pass.
    """
    ranks = _ordered(logits)
    count = jnp.where(jnp.asarray(choice.top_k) > 0, choice.top_k, logits.shape[-1])
    limit = _least(ranks, lambda above: jnp.sum(above, axis=-1, keepdims=True) < count)
    probabilities = jax.nn.softmax(jnp.where(ranks >= limit, logits, -jnp.inf), axis=-1)

    def has_room(above):
        likelier = jnp.sum(jnp.where(above, probabilities, 0), axis=-1, keepdims=True)
        return (likelier < choice.top_p) | (jnp.asarray(choice.top_p) >= 1)

    limit = jnp.maximum(limit, _least(ranks, has_room))
    return jnp.where(ranks >= limit, logits, -jnp.inf)


def _ordered(values: Float[Array, "batch vocabulary"]) -> Int[Array, "batch vocabulary"]:
    """Maps float32 numbers to whole numbers of the same order."""
    values = jnp.where(values == 0, 0, values).astype(jnp.float32)  # there are two zeros
    bits = jax.lax.bitcast_convert_type(values, jnp.int32)
    return jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)


def _least(
    ranks: Int[Array, "batch vocabulary"],
    holds: Callable[[Bool[Array, "batch vocabulary"]], Bool[Array, "batch 1"]],
) -> Int[Array, "batch 1"]:
    """Finds the least rank of each row for which `holds` is true of the tokens above it. It must be
    true of none, and stay true of fewer."""

    def halve(bounds):
        low, high = bounds
        middle = (low & high) + ((low ^ high) >> 1)  # rounded down, without overflow
        fits = holds(ranks > middle)
        return jnp.where(fits, low, middle + 1), jnp.where(fits, middle, high)

    bounds = (jnp.min(ranks, axis=-1, keepdims=True), jnp.max(ranks, axis=-1, keepdims=True))
    return jax.lax.while_loop(lambda bounds: jnp.any(bounds[0] < bounds[1]), halve, bounds)[1]
