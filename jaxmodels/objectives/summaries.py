"""How the summaries of a batch are searched for."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxmodels.decoding import Found, Rule, Step, at_least, no_repeats, search, without


class SummarySearch(NamedTuple):
    """Options of the search.

    most: tokens of a summary, its end included.
    beams, length_penalty, stop: as in `decoding.search`.
    shortest: a summary does not end before it has so many tokens.
    no_repeat: no run of so many tokens comes twice in a summary; 0: it may.
    """

    most: int
    end: int
    beams: int = 1
    length_penalty: float = 1.0
    stop: str = "likely"
    shortest: int = 0
    no_repeat: int = 0
    barred: tuple[int, ...] = ()  # tokens that are never written

    def rules(self, prompt: Int[Array, " batch"] | None = None) -> list[Rule]:
        """Makes the rules of what is written.

        prompt: how many tokens at the start of each row are not of the summary.
        """
        found = [without(self.barred)] if self.barred else []
        own = [at_least(self.shortest, self.end)] if self.shortest else []
        own += [no_repeats(self.no_repeat)] if self.no_repeat else []
        return found + [rule if prompt is None else _behind(rule, prompt) for rule in own]


def searched(
    step: Step,
    tokens: Int[Array, "batch prefix"],
    prompt: Int[Array, " batch"],
    options: SummarySearch,
    rules: list[Rule],
) -> dict[str, Array]:
    """Writes a summary behind the first `prompt` tokens of each row; returns its "tokens" with the
    end, [batch, most], and its "length"."""
    found: Found = search(
        step,
        tokens,
        prompt,
        beams=options.beams,
        most=options.most,
        end=options.end,
        length_penalty=options.length_penalty,
        stop=options.stop,
        rules=rules,
    )
    places = prompt[:, None] + jnp.arange(options.most)
    written = jnp.take_along_axis(found.tokens[:, 0], places, axis=1)
    return {"tokens": written, "length": found.length[:, 0] - prompt}


def _behind(rule: Rule, prompt: Int[Array, " batch"]) -> Rule:
    """Makes a rule see only what stands behind the prompts."""

    def of_rest(logits, tokens, length):
        rows, room = tokens.shape
        starts = jnp.repeat(prompt, rows // prompt.shape[0])
        places = (starts[:, None] + jnp.arange(room)) % room
        return rule(logits, jnp.take_along_axis(tokens, places, axis=1), length - starts)

    return of_rest
