"""Summarization by a model of the next token, to which a document and its summary are one text."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxmodels.objectives.descent import learned_of
from jaxmodels.objectives.language_model import LanguageModel
from jaxmodels.objectives.summaries import SummarySearch, searched
from jaxmodels.objectives.token_prediction import Questions
from jaxmodels.protocol import Batch, Score, State

SCORES = MappingProxyType(
    {
        "loss": Score("lower", "nats", "Mean cross-entropy of a token of a summary and its end."),
        "accuracy": Score("higher", "", "Share of a summary's tokens that are the likeliest."),
    }
)


@dataclass(frozen=True, kw_only=True)
class PromptedSummarizer(LanguageModel):
    """The objective of batches {"tokens": Int[batch, length + 1], "scored": Bool[batch, length],
    "prompt": Int[batch], "row": Int[batch]}: a document and its summary, of which the tokens of the
    summary count, and the number of tokens before these.

    The head is computed for as many places as a summary may have, which are few of a row's.
    """

    search: SummarySearch

    meanings: ClassVar[Mapping[str, Score]] = SCORES

    def evaluation_questions(self, batch: Batch) -> Questions:
        """Asks for the tokens of the summaries."""
        tokens, length = batch["tokens"], batch["tokens"].shape[1] - 1
        places = batch["prompt"][:, None] - 1 + jnp.arange(self.search.most)
        within = jnp.minimum(places, length - 1)
        targets = jnp.take_along_axis(tokens[:, 1:], within, axis=1)
        scored = jnp.take_along_axis(batch["scored"], within, axis=1) & (places < length)
        return Questions(tokens[:, :-1], targets, scored, places=within)

    def write(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Array]:
        """Writes the summary of each document: "tokens", "length", and the "row"."""
        prefix = batch["tokens"].shape[1] - self.search.most
        tokens, prompt = batch["tokens"][:, :prefix], batch["prompt"]
        step = self.writing_step(learned_of(state)["params"])
        found = searched(step, tokens, prompt, self.search, self.search.rules(prompt))
        return {**found, "row": batch["row"]}
