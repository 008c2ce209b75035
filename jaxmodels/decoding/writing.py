"""Texts that a model of the next token goes on with, in a loop that is compiled once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmodels.decoding.choosing import Choice, choose
from jaxmodels.decoding.rules import Rule, apply_rules
from jaxmodels.protocol import PyTree

_READ_AT_ONCE = 64  # tokens of prompts


class Step(NamedTuple):
    """A model's pass over new tokens, as two functions.

    decode: (tokens [batch, new], cache, start [batch], at [batch]) -> (logits [batch, 1,
      vocabulary], cache): the logits of the token after new token number `at`. The first new one
      stands at `start`; what the cache holds from there on is written over.
    empty_cache: (batch, length) -> a cache for sequences of up to `length` tokens, whose arrays
      lead with the batch.
    """

    decode: Callable[[Array, PyTree, Array, Array], tuple[Array, PyTree]]
    empty_cache: Callable[[int, int], PyTree]


class Writing(NamedTuple):
    """Texts that are being written, a row each."""

    tokens: Int[Array, "batch room"]
    length: Int[Array, " batch"]  # tokens of the text so far
    ended: Bool[Array, " batch"]  # by the token that ends a text, or for want of room
    cache: PyTree
    start: Int[Array, " batch"]  # tokens in the cache
    logits: Float[Array, "batch vocabulary"]  # of the next token
    seen: Bool[Array, "batch vocabulary"]


def begin(
    step: Step, tokens: Int[Array, "batch room"], length: Int[Array, " batch"], context: int
) -> Writing:
    """Reads the prompts, of one token or more: the first `length` tokens of each row.

    context: the most tokens that the model sees; of a longer prompt it sees the last half of them.
    """
    batch, room = tokens.shape
    size = min(context, room)
    written = jnp.arange(room) < length[:, None]
    given = tokens[:, :1], step.empty_cache(batch, size), length, length
    like = jax.eval_shape(step.decode, *given)[0]
    words = like.shape[-1]
    rows = jnp.broadcast_to(jnp.arange(batch)[:, None], tokens.shape)
    seen = jnp.zeros((batch, words), bool).at[rows, tokens].max(written)
    nothing = jnp.zeros((batch, words), like.dtype)
    cache = step.empty_cache(batch, size)
    writing = Writing(tokens, length, length >= room, cache, jnp.zeros_like(length), nothing, seen)
    return _read(step, writing, size)


def extend(
    step: Step,
    writing: Writing,
    count: Int[Array, ""] | int,
    keys: Key[Array, " batch"],
    choice: Choice,
    end: Int[Array, ""] | int = -1,
    context: int = 0,
    rules: Sequence[Rule] = (),
) -> Writing:
    """Writes up to `count` more tokens into each row that has not ended.

    keys: one per row; the key of a token is folded from its place, so that a text depends neither
      on the others of its batch nor on how often this is called.
    end: the token that ends a text, which it then has; -1: none.
    context: as in `begin`. A row that has filled it goes on from the last half that it saw.
    rules: what may come next.
    """
    size = min(context, writing.tokens.shape[1]) if context else writing.tokens.shape[1]

    def goes_on(carry):
        done, writing = carry
        return (done < count) & ~jnp.all(writing.ended)

    def write(carry):
        done, writing = carry
        writing = _passed(step, _chosen(writing, keys, choice, end, rules))
        # The last token of such a row did not fit into the cache, so its logits are NaN until the
        # row is read again.
        is_full = writing.start > size
        writing = jax.lax.cond(
            jnp.any(is_full),
            lambda writing: _merged(is_full, _read(step, writing, size), writing),
            lambda writing: writing,
            writing,
        )
        return done + 1, writing

    return jax.lax.while_loop(goes_on, write, (jnp.int32(0), writing))[1]


def _chosen(
    writing: Writing, keys: Key[Array, " batch"], choice: Choice, end, rules: Sequence[Rule]
) -> Writing:
    """Puts the next token behind each text that goes on."""
    tokens, length, ended = writing.tokens, writing.length, writing.ended
    rows, room = jnp.arange(tokens.shape[0]), tokens.shape[1]
    each = jax.vmap(jax.random.fold_in)(keys, length)
    logits = apply_rules(rules, writing.logits, tokens, length)
    new = choose(each, logits, writing.seen, choice)
    place = jnp.minimum(length, room - 1)
    new = jnp.where(ended, tokens[rows, place], new)
    length = jnp.where(ended, length, length + 1)
    return writing._replace(
        tokens=tokens.at[rows, place].set(new),
        length=length,
        ended=ended | (new == end) | (length >= room),
        seen=writing.seen.at[rows, new].max(~ended),
    )


def _passed(step: Step, writing: Writing) -> Writing:
    """Passes the last token of each text to the model."""
    rows = jnp.arange(writing.tokens.shape[0])
    last = writing.tokens[rows, writing.length - 1]
    # A text that has ended stays where it is.
    start = jnp.where(writing.ended, jnp.maximum(writing.start - 1, 0), writing.start)
    logits, cache = step.decode(last[:, None], writing.cache, start, jnp.zeros_like(start))
    return writing._replace(cache=cache, start=start + 1, logits=logits[:, 0])


def _read(step: Step, writing: Writing, size: int) -> Writing:
    """Passes all of each text that fits to the model, or the last half of what it may see."""
    batch, room = writing.tokens.shape
    kept = jnp.where(writing.length < size, writing.length, jnp.maximum(size // 2, 1))
    # Such a text has filled its row: it has ended, and is read whole once.
    kept = jnp.where((writing.length == size) & (size == room), size, kept)
    places = (writing.length - kept)[:, None] + jnp.arange(size)
    rows = jnp.arange(batch)
    window = writing.tokens[rows[:, None], jnp.clip(places, 0, room - 1)]
    cache, logits = _read_in_pieces(step, window, kept, writing)
    return writing._replace(cache=cache, start=kept, logits=logits)


def _read_in_pieces(
    step: Step, window: Int[Array, "batch size"], kept: Int[Array, " batch"], writing: Writing
) -> tuple[PyTree, Float[Array, "batch vocabulary"]]:
    """Passes the first `kept` tokens of each row to the model, a piece at a time: the room behind
    the longest is not read. Gives the cache, and the logits of the token after the last of each."""
    batch, size = window.shape
    piece = min(_READ_AT_ONCE, size)

    def read(carry):
        place, cache, logits = carry
        # The last piece ends with the window, and reads some tokens again.
        start = jnp.minimum(place, size - piece)
        tokens = jax.lax.dynamic_slice_in_dim(window, start, piece, axis=1)
        last = kept - 1 - start
        at = jnp.clip(last, 0, piece - 1)
        found, cache = step.decode(tokens, cache, jnp.full(batch, start), at)
        return place + piece, cache, jnp.where((last == at)[:, None], found[:, 0], logits)

    carry = (jnp.int32(0), writing.cache, writing.logits)
    _, cache, logits = jax.lax.while_loop(lambda carry: carry[0] < jnp.max(kept), read, carry)
    return cache, logits


def _merged(chosen: Bool[Array, " batch"], one: Writing, other: Writing) -> Writing:
    """Takes the chosen rows of one writing and the rest of another."""

    def pick(a, b):
        return jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, one, other)
