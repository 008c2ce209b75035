"""Rules of what may be written next: functions that change the logits of the next token.

They set logits to -inf, or to 0 for a token that must come. So they hold for probabilities too, and
for texts that are drawn, taken greedily and searched for alike.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# (logits, tokens, length) -> logits: of the token after the first `length` tokens of each row.
Rule = Callable[
    [Float[Array, "rows vocabulary"], Int[Array, "rows room"], Int[Array, " rows"]],
    Float[Array, "rows vocabulary"],
]


def apply_rules(
    rules: Sequence[Rule],
    logits: Float[Array, "rows vocabulary"],
    tokens: Int[Array, "rows room"],
    length: Int[Array, " rows"],
) -> Float[Array, "rows vocabulary"]:
    """Applies rules, one after another."""
    for rule in rules:
        logits = rule(logits, tokens, length)
    return logits


def no_repeats(size: int) -> Rule:
    """Makes the rule that no run of `size` tokens comes twice in a text, its beginning included
    (Paulus et al. 2018, section 2.5)."""

    def rule(logits, tokens, length):
        room = tokens.shape[1]
        if room < size:
            return logits
        rows = jnp.arange(tokens.shape[0])[:, None]
        last = length[:, None] + jnp.arange(1 - size, 0)  # places of the latest tokens
        latest = tokens[rows, jnp.maximum(last, 0)]
        windows = jnp.stack([tokens[:, at : room - size + 1 + at] for at in range(size)], axis=-1)
        # A run that has ended before: what came after its first tokens may not come again.
        ends = jnp.arange(size - 1, room)
        is_same = jnp.all(windows[..., :-1] == latest[:, None], axis=-1)
        barred = is_same & (ends < length[:, None])
        bound = jnp.where(barred, -jnp.inf, jnp.inf).astype(logits.dtype)
        return logits.at[rows, windows[..., -1]].min(bound)

    return rule


def at_least(shortest: Int[Array, ""] | int, end: Int[Array, ""] | int) -> Rule:
    """Makes the rule that a text does not end before it has `shortest` tokens, its beginning
    included and its end not."""

    def rule(logits, tokens, length):
        # Comparisons cost less than writing at one place: they need no copy of all logits.
        is_end = jnp.arange(logits.shape[-1]) == end
        return jnp.where(is_end & (length < shortest)[:, None], -jnp.inf, logits)

    return rule


def without(barred: Sequence[int], at: Int[Array, " rows"] | int | None = None) -> Rule:
    """Makes the rule that some tokens are never written.

    at: the length at which alone they are not; None: at every.
    """

    def rule(logits, tokens, length):
        cut = np.isin(np.arange(logits.shape[-1]), barred)
        if at is not None:
            cut = cut & (length == at)[:, None]
        return jnp.where(cut, -jnp.inf, logits)

    return rule


def forced(token: Int[Array, ""] | int, at: Int[Array, " rows"] | int) -> Rule:
    """Makes the rule that a token follows when a text has the length `at`, with a logarithm of
    its probability of 0, as transformers counts it: a language at the start, the end at last."""

    def rule(logits, tokens, length):
        only = jnp.where(jnp.arange(logits.shape[-1]) == token, 0, -jnp.inf)
        return jnp.where((length == at)[:, None], only.astype(logits.dtype), logits)

    return rule
