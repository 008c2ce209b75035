"""Texts that are handed over while they are being written."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from jaxmodels.decoding.choosing import Choice
from jaxmodels.decoding.writing import Step, begin, extend
from jaxmodels.protocol import PyTree

PIECE = 8  # tokens between two looks at the texts


def stream(
    step_of: Callable[[PyTree], Step],
    params: PyTree,
    tokens: Int[Array, "batch room"],
    length: Int[Array, " batch"],
    keys: Key[Array, " batch"],
    choice: Choice,
    end: int,
    context: int,
) -> Iterator[tuple[Int[np.ndarray, "batch room"], Int[np.ndarray, " batch"]]]:
    """Yields the tokens and lengths of all texts again and again, until all have ended. They become
    those that `extend` writes at once.

    step_of: makes the model's step of its parameters; the rest is as in `begin` and `extend`.
    """

    @jax.jit
    def begun(params, tokens, length):
        return begin(step_of(params), tokens, length, context)

    # The writing is used up, so that there is one cache.
    @partial(jax.jit, donate_argnums=1)
    def extended(params, writing, keys, choice, end):
        return extend(step_of(params), writing, PIECE, keys, choice, end, context)

    writing = begun(params, tokens, length)
    while not np.all(writing.ended):
        writing = extended(params, writing, keys, choice, end)
        yield np.asarray(writing.tokens), np.asarray(writing.length)
