"""Grammars of labels: n-grams as automata, to be asked inside of compiled searches."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Grammar(NamedTuple):
    """An automaton that says how likely each label is after those before.

    scores: log-probability of each label in each state. after: the state that follows. ends:
    log-probability that a text ends in a state. start: the state at the beginning.
    """

    scores: Float[Array, "states labels"]
    after: Int[Array, "states labels"]
    ends: Float[Array, " states"]
    start: int = 0


def ngrams(texts: Iterable[Sequence[int]], labels: int, order: int) -> Grammar:
    """Estimates n-grams of texts with the smoothing of Witten & Bell (1991): what follows `order` -
    1 labels, mixed with what follows fewer in the share of how many kinds of labels followed.

    labels: how many there are, the blank 0 included, which no text has; the end of a text counts as
      one more. States are the contexts of up to `order` - 1 labels that texts have.
    """
    end = labels
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for text in texts:
        whole = [*map(int, text), end]
        for place, label in enumerate(whole):
            for size in range(min(order - 1, place) + 1):
                counts[tuple(whole[place - size : place])][label] += 1
    counts.setdefault((), Counter())
    contexts = sorted(counts, key=lambda context: (len(context), context))
    contexts = [context for context in contexts if end not in context]
    number = {context: place for place, context in enumerate(contexts)}
    uniform = np.full(labels + 1, 1 / labels)
    uniform[0] = 0.0
    shares = np.zeros((len(contexts), labels + 1))
    after = np.zeros((len(contexts), labels), np.int32)
    for context, place in number.items():
        own = np.zeros(labels + 1)
        for label, count in counts[context].items():
            own[label] = count
        shorter = shares[number[context[1:]]] if context else uniform
        kinds, total = np.count_nonzero(own), own.sum()
        shares[place] = (own + kinds * shorter) / (total + kinds) if total else shorter
        for label in range(1, labels):
            longer = (*context, label)[-(order - 1) :] if order > 1 else ()
            while longer not in number:
                longer = longer[1:]
            after[place, label] = number[longer]
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(shares), -1e4).astype(np.float32)
    scores = jnp.asarray(logs[:, :labels])
    return Grammar(scores, jnp.asarray(after), jnp.asarray(logs[:, labels]), number[()])
