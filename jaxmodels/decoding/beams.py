"""Beam search for the likeliest texts, in a loop that is compiled once."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxmodels.decoding.caches import reordered, repeated
from jaxmodels.decoding.rules import Rule, apply_rules
from jaxmodels.decoding.writing import Step
from jaxmodels.errors import require_known
from jaxmodels.protocol import PyTree

STOPS = ("likely", "full", "exact")
_BLOCK = 128  # numbers, of which the largest is found first
_FEW = 16_384  # numbers, of which the largest are found at once


class Found(NamedTuple):
    """The texts that a search has found, for each beginning the best first.

    score: the sum of the logarithms of the probabilities of what was written, divided by the number
      of tokens written to the power of the length penalty; -inf: there are fewer texts.
    complete: whether the search was over before the most tokens were written, so that with room for
      more it finds the same, unless `stop` is exact.
    """

    tokens: Int[Array, "batch beams room"]  # the beginning, what was written with its end, then end
    length: Int[Array, "batch beams"]
    score: Float[Array, "batch beams"]
    complete: Bool[Array, " batch"]


class _Search(NamedTuple):
    """A search on its way: texts that go on, and the best that have ended."""

    written: Int[Array, ""]
    tokens: Int[Array, "batch beams room"]
    total: Float[Array, "batch beams"]  # the sums of logarithms
    cache: PyTree
    found: Found
    ended: Bool[Array, " batch"]


def search(
    step: Step,
    tokens: Int[Array, "batch prefix"],
    length: Int[Array, " batch"] | None = None,
    *,
    beams: int,
    most: int,
    end: Int[Array, ""] | int,
    limit: Int[Array, " batch"] | None = None,
    length_penalty: Float[Array, ""] | float = 1.0,
    stop: str = "likely",
    rules: Sequence[Rule] = (),
) -> Found:
    """Searches for the likeliest texts after each beginning, as transformers' `generate` does.

    At each token, the `beams` likeliest ways to go on are kept. Texts that end among them are
    scored, and the best `beams` of these are what is found. Rows do not depend on each other.

    tokens: how each text must begin, with one token or more.
    length: how many of them there are in each row; None: all.
    beams: 1: the text of greedy choices.
    most: how many tokens are written at most, the end included.
    limit: the same for each row, at most `most`; None: `most`.
    length_penalty: the power of the length that divides a text's sum: above 0, longer texts are
      preferred (Wu et al. 2016, section 7, in the form of transformers).
    stop: likely: when as many texts as beams have ended and, at the present length, no other one
      has a better score; full: when they have ended; exact: when none can get a better score.
    rules: what may come next; they see the logarithms of probabilities.

    Raises:
      InputError: an unknown `stop`.
    """
    require_known("stop", stop, STOPS)
    batch, prefix = tokens.shape
    length = jnp.full(batch, prefix) if length is None else length
    limit = length + (most if limit is None else jnp.minimum(limit, most))
    # One beam ends with its text: what is likelier than it was seen before.
    stop = "full" if beams == 1 else stop

    def goes_on(search: _Search):
        return ~jnp.all(search.ended)

    def advance(search: _Search) -> _Search:
        size = length + search.written
        probabilities, cache = _passed(step, search, size, rules)
        total, parent, token = _candidates(probabilities, search.total)
        texts = jnp.take_along_axis(search.tokens, parent[..., None], axis=1)
        texts = _with_token(texts, token, size)
        is_last = size + 1 >= limit
        ends = (token == end) | is_last[:, None]
        score = total / (search.written + 1.0) ** length_penalty
        counts = ends[:, :beams] & jnp.isfinite(total[:, :beams]) & ~search.ended[:, None]
        score = jnp.where(counts, score[:, :beams], -jnp.inf)
        found = _best(search.found, texts[:, :beams], size + 1, score)
        complete = found.complete & (search.ended | ~is_last)
        # At most one way to go on from each beam ends the text: others are enough.
        total, kept = jax.lax.top_k(jnp.where(ends, -jnp.inf, total), beams)
        parent = jnp.take_along_axis(parent, kept, axis=1)
        after = _Search(
            written=search.written + 1,
            tokens=jnp.take_along_axis(texts, kept[..., None], axis=1),
            total=total,
            cache=reordered(cache, parent, size),
            found=found._replace(complete=complete),
            ended=search.ended | is_last,
        )
        is_over = _is_over(after, stop, length_penalty, limit - length)
        return after._replace(ended=after.ended | is_over)

    start = _begun(step, tokens, length, beams, prefix + most, end)
    start = start._replace(ended=limit <= length)
    return jax.lax.while_loop(goes_on, advance, start).found


def _is_over(
    search: _Search,
    stop: str,
    length_penalty: Float[Array, ""] | float,
    longest: Int[Array, " batch"],
) -> Bool[Array, " batch"]:
    """Tells where no text that goes on is expected to be among the best."""
    is_full = jnp.all(jnp.isfinite(search.found.score), axis=1)
    if stop == "full":
        return is_full
    lengths = jnp.full_like(longest, search.written)
    if stop == "exact":
        lengths = jnp.where(jnp.asarray(length_penalty) > 0, longest, lengths)
    best = search.total[:, 0] / lengths.astype(search.total.dtype) ** length_penalty
    return is_full & (best <= search.found.score[:, -1])


def _begun(step: Step, tokens, length, beams: int, room: int, end) -> _Search:
    """Passes all but the last token of each beginning to the model, once for all beams."""
    batch, prefix = tokens.shape
    cache = step.empty_cache(batch, room)
    if prefix > 1:
        # What is read of the last one is written over by the first pass.
        nowhere = jnp.zeros(batch, jnp.int32)
        _, cache = step.decode(tokens[:, :-1], cache, nowhere, nowhere)
    rest = jnp.full((batch, room - prefix), end, tokens.dtype)
    behind = jnp.arange(room) >= length[:, None]
    tokens = jnp.where(behind, end, jnp.concatenate([tokens, rest], axis=1))
    tokens = jnp.broadcast_to(tokens[:, None], (batch, beams, room))
    nothing = jnp.full((batch, beams), -jnp.inf)
    return _Search(
        written=jnp.int32(0),
        tokens=tokens,
        total=nothing.at[:, 0].set(0.0),  # all beams are the same
        cache=repeated(cache, beams),
        found=Found(
            tokens=tokens,
            length=jnp.broadcast_to(length[:, None], (batch, beams)),
            score=nothing,
            complete=jnp.ones(batch, bool),
        ),
        ended=jnp.zeros(batch, bool),
    )


def _passed(
    step: Step, search: _Search, size: Int[Array, " batch"], rules: Sequence[Rule]
) -> tuple[Float[Array, "batch beams vocabulary"], PyTree]:
    """Passes the last token of each text to the model. Gives the logarithms of the probabilities
    of the next, by the rules."""
    batch, beams, room = search.tokens.shape
    rows = search.tokens.reshape(-1, room)
    sizes = jnp.repeat(size, beams)
    last = jnp.take_along_axis(rows, sizes[:, None] - 1, axis=1)
    logits, cache = step.decode(last, search.cache, sizes - 1, jnp.zeros_like(sizes))
    logits = jax.nn.log_softmax(logits[:, 0].astype(jnp.float32))
    logits = apply_rules(rules, logits, rows, sizes)
    return logits.reshape(batch, beams, -1), cache


def _candidates(
    probabilities: Float[Array, "batch beams vocabulary"], total: Float[Array, "batch beams"]
) -> tuple[
    Float[Array, "batch candidates"], Int[Array, "batch candidates"], Int[Array, "batch candidates"]
]:
    """Finds the likeliest ways to go on, twice as many as beams: their sums, beams and tokens."""
    batch, beams, vocabulary = probabilities.shape
    totals = (probabilities + total[..., None]).reshape(batch, -1)
    best, place = largest(totals, min(2 * beams, totals.shape[1]))
    return best, place // vocabulary, place % vocabulary


def largest(
    values: Float[Array, "batch numbers"], count: int
) -> tuple[Float[Array, "batch count"], Int[Array, "batch count"]]:
    """Finds the largest numbers of each row and their places, the largest first and the first of
    equal ones first, as `jax.lax.top_k`, which is slow on a CPU for long rows.

    They are in the blocks with the largest maxima, of which there are no more.
    """
    batch, size = values.shape
    if size < _FEW or count * _BLOCK > size:
        found, place = jax.lax.top_k(values, count)
        return found, place
    padded = jnp.pad(values, ((0, 0), (0, -size % _BLOCK)), constant_values=-jnp.inf)
    blocks = padded.reshape(batch, -1, _BLOCK)
    chosen = jnp.sort(jax.lax.top_k(jnp.max(blocks, axis=-1), count)[1], axis=-1)
    inside = jnp.take_along_axis(blocks, chosen[..., None], axis=1).reshape(batch, -1)
    found, place = jax.lax.top_k(inside, count)
    block = jnp.take_along_axis(chosen, place // _BLOCK, axis=1)
    return found, block * _BLOCK + place % _BLOCK


def _with_token(texts, token, size):
    """Puts a token behind each text."""
    is_next = jnp.arange(texts.shape[-1]) == size[:, None, None]
    return jnp.where(is_next, token[..., None].astype(texts.dtype), texts)


def _best(found: Found, texts, size: Int[Array, " batch"], score) -> Found:
    """Keeps the best of what was found and what has ended now, the older of equal ones first."""
    beams = found.score.shape[1]
    scores = jnp.concatenate([found.score, score], axis=1)
    score, kept = jax.lax.top_k(scores, beams)
    sizes = jnp.broadcast_to(size[:, None], texts.shape[:2]).astype(found.length.dtype)
    both = jnp.concatenate([found.tokens, texts], axis=1)
    lengths = jnp.concatenate([found.length, sizes], axis=1)
    tokens = jnp.take_along_axis(both, kept[..., None], axis=1)
    length = jnp.take_along_axis(lengths, kept, axis=1)
    return found._replace(tokens=tokens, length=length, score=score)
