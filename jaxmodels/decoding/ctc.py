"""Texts of the logits of connectionist temporal classification: the likeliest path, and a search of
prefixes. Label 0 is the blank."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmodels.decoding.ngrams import Grammar

_LEAST = -1e30  # the logarithm of zero, finite so that differences of it are numbers


class Labelled(NamedTuple):
    """Texts as labels; 0 behind the end of each."""

    labels: Int[Array, "batch room"]
    length: Int[Array, " batch"]
    score: Float[Array, " batch"]  # logarithm of the probability, with what a grammar adds


class _Beams(NamedTuple):
    """Prefixes of one text, the best first."""

    labels: Int[Array, "beams room"]
    length: Int[Array, " beams"]
    blank: Float[Array, " beams"]  # log-probability of the ways that end in a blank
    label: Float[Array, " beams"]  # of those that end in the last label
    state: Int[Array, " beams"]  # of the grammar
    said: Float[Array, " beams"]  # what the grammar and the bonus add


def greedy(logits: Float[Array, "batch frames labels"], frames: Int[Array, " batch"]) -> Labelled:
    """Finds the text of the likeliest path (Graves et al. 2006, section 3.2): the likeliest label
    of each frame, without repetitions and then without blanks."""
    batch, count, _ = logits.shape
    probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    there = jnp.arange(count) < frames[:, None]
    path = jnp.where(there, jnp.argmax(probabilities, axis=-1), 0)
    before = jnp.pad(path, ((0, 0), (1, 0)))[:, :-1]
    is_kept = (path != 0) & (path != before)
    # Those that are not kept go to a place behind the end, which is cut off.
    places = jnp.where(is_kept, jnp.cumsum(is_kept, axis=1) - 1, count)
    rows = jnp.arange(batch)[:, None]
    labels = jnp.zeros((batch, count + 1), jnp.int32).at[rows, places].set(path)[:, :count]
    score = jnp.sum(jnp.where(there, jnp.max(probabilities, axis=-1), 0), axis=1)
    return Labelled(labels, jnp.sum(is_kept, axis=1), score)


def search(
    logits: Float[Array, "batch frames labels"],
    frames: Int[Array, " batch"],
    *,
    beams: int,
    room: int,
    grammar: Grammar | None = None,
    weight: Float[Array, ""] | float = 0.0,
    bonus: Float[Array, ""] | float = 0.0,
) -> Labelled:
    """Searches for the likeliest text, all of its paths together, by the best prefixes at each
    frame (Hannun et al. 2014, algorithm 1).

    beams: how many prefixes are kept. room: most labels of a text.
    grammar: says how likely a label is after others; its log-probabilities times `weight` are added
      to those of the sound, and `bonus` for each label.
    """
    probabilities = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)

    def one(probabilities, count):
        def step(found, given):
            at, now = given
            after = _extended(found, now, grammar, weight, bonus)
            return jax.tree.map(lambda a, b: jnp.where(at < count, a, b), after, found), None

        steps = jnp.arange(len(probabilities)), probabilities
        found, _ = jax.lax.scan(step, _begun(beams, room, grammar), steps)
        score = jnp.logaddexp(found.blank, found.label) + found.said
        if grammar is not None:
            score = score + weight * grammar.ends[found.state]
        best = jnp.argmax(score)
        return Labelled(found.labels[best], found.length[best], score[best])

    return jax.vmap(one)(probabilities, frames)


def _begun(beams: int, room: int, grammar: Grammar | None) -> _Beams:
    nothing = jnp.full(beams, _LEAST)
    start = 0 if grammar is None else grammar.start
    return _Beams(
        labels=jnp.zeros((beams, room), jnp.int32),
        # Places of beams that are empty yet have a length that no prefix has.
        length=jnp.full(beams, -2, jnp.int32).at[0].set(0),
        blank=nothing.at[0].set(0.0),
        label=nothing,
        state=jnp.full(beams, start, jnp.int32),
        said=jnp.zeros(beams),
    )


def _extended(
    found: _Beams, now: Float[Array, " labels"], grammar: Grammar | None, weight, bonus
) -> _Beams:
    """Passes one frame: each prefix stays what it is, or gets one more label."""
    beams, room = found.labels.shape
    rows, count = jnp.arange(beams), len(now)
    total = jnp.logaddexp(found.blank, found.label)
    last = found.labels[rows, jnp.maximum(found.length - 1, 0)]
    last = jnp.where(found.length > 0, last, 0)
    stays = found._replace(blank=total + now[0], label=_plus(found.label, now[last], last > 0))
    # After its own last label a prefix gets the same one again only through a blank.
    is_same = jnp.arange(count) == last[:, None]
    longer = jnp.where(is_same, found.blank[:, None], total[:, None]) + now
    is_full = (found.length >= room) | (found.length < 0)
    longer = jnp.where(is_full[:, None], _LEAST, longer).at[:, 0].set(_LEAST)
    # A longer prefix may be one of the others, which it then joins.
    parent, child = rows[:, None], rows[None, :]
    begins = jnp.arange(room) < found.length[:, None, None]
    equal = jnp.all((found.labels[:, None] == found.labels[None]) | ~begins, axis=-1)
    joins = equal & (found.length[child] == found.length[parent] + 1)
    ways = jnp.where(joins, longer[parent, last[child]], _LEAST)
    joined = jax.nn.logsumexp(ways, axis=0)
    stays = stays._replace(label=jnp.logaddexp(stays.label, joined))
    taken = jnp.zeros((beams, count), bool).at[parent, last[child]].max(joins)
    longer = jnp.where(taken, _LEAST, longer)
    said, states = _said(found, grammar, weight, bonus, count)
    best = jnp.logaddexp(stays.blank, stays.label) + found.said
    scores = jnp.concatenate([best, (longer + said).reshape(-1)])
    _, chosen = jax.lax.top_k(scores, beams)
    is_new = chosen >= beams
    source = jnp.where(is_new, (chosen - beams) // count, chosen)
    label = jnp.where(is_new, (chosen - beams) % count, 0)
    place = jnp.minimum(found.length[source], room - 1)
    labels = found.labels[source]
    written = labels.at[rows, jnp.maximum(place, 0)].set(label)
    # Scores of nothing fill up where there are fewer prefixes than beams.
    is_there = scores[chosen] > 0.5 * _LEAST
    return _Beams(
        labels=jnp.where(is_new[:, None], written, labels),
        length=jnp.where(is_there, found.length[source] + is_new, -2),
        blank=jnp.where(is_new, _LEAST, stays.blank[source]),
        label=jnp.where(is_new, longer[source, label], stays.label[source]),
        state=jnp.where(is_new, states[source, label], found.state[source]),
        said=jnp.where(is_new, said[source, label], found.said[source]),
    )


def _plus(a, b, there):
    return jnp.where(there, a + b, _LEAST)


def _said(found: _Beams, grammar: Grammar | None, weight, bonus, count: int):
    """Computes what a grammar and the bonus add for each longer prefix, and its state."""
    said = found.said[:, None] + bonus
    if grammar is None:
        return jnp.broadcast_to(said, (len(said), count)), jnp.zeros((len(said), count), jnp.int32)
    return said + weight * grammar.scores[found.state], grammar.after[found.state]
