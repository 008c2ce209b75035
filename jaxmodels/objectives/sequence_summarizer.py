"""Summarization by a model that reads a document and writes its summary."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxmodels.objectives.descent import learned_of
from jaxmodels.objectives.sequence_to_sequence import SequenceToSequence
from jaxmodels.objectives.summaries import SummarySearch, searched
from jaxmodels.protocol import Batch, State


@dataclass(frozen=True, kw_only=True)
class SequenceSummarizer(SequenceToSequence):
    """The objective of `SequenceToSequence` with documents as sources and summaries as targets,
    whose batches of evaluations have the column "row": Int[batch].

    shortest, no_repeat: as in `SummarySearch`.
    """

    shortest: int = 0
    no_repeat: int = 0

    @property
    def search(self) -> SummarySearch:
        """How summaries are searched for."""
        return SummarySearch(
            most=self.most,
            end=self.end,
            beams=self.beams,
            length_penalty=self.length_penalty,
            stop=self.stop,
            shortest=self.shortest,
            no_repeat=self.no_repeat,
            barred=self.never_written,
        )

    def write(self, state: State, batch: Batch, key: Key[Array, ""]) -> dict[str, Array]:
        """Writes the summary of each document: "tokens", "length", and the "row"."""
        source = batch["source"]
        step, begin = self.begun(learned_of(state)["params"], source)
        prompt = jnp.ones(source.shape[0], jnp.int32)
        found = searched(step, begin, prompt, self.search, self.search.rules(prompt))
        return {**found, "row": batch["row"]}
