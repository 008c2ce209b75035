"""How summaries are searched for: flags, and those that published weights imply."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from experiments.parts.published_search import published_options, search_flags
from jaxmodels.decoding.beams import STOPS
from jaxmodels.errors import InputError, require_known
from jaxmodels.pretrained.weights import Weights
from jaxmodels.train import Role, require_range

_PUBLISHED_DOCUMENT, _PUBLISHED_SUMMARY, _PUBLISHED_BEAMS = 512, 128, 4


@dataclass(frozen=True, kw_only=True)
class SummaryWriting:
    """How summaries are searched for."""

    beams: Annotated[int, Role.HOW] = 1
    """Ways to go on that the search keeps; 1: the likeliest word each time."""
    length_penalty: Annotated[float, Role.HOW] = 1.0
    """Power of the length that divides the score of a summary; higher: longer ones."""
    stop: Annotated[Literal["likely", "full", "exact"], Role.HOW] = "likely"
    """When a search is over: likely, when what goes on has no better score at its length; full,
    when as many summaries as beams have ended; exact, when nothing can get a better score."""
    shortest: Annotated[int, Role.HOW] = 0
    """Least tokens of a summary."""
    no_repeat: Annotated[int, Role.HOW] = 0
    """No run of so many tokens comes twice in a summary; 0: it may."""
    written: Annotated[int, Role.HOW] = 64
    """Documents of the validation split, the first ones, that are summarized at an evaluation
    during training; after the last step all are."""

    def validate(self) -> None:
        """Raises InputError for an unknown name or numbers out of range."""
        require_known("stop", self.stop, STOPS)
        for name, least in (("beams", 1), ("shortest", 0), ("no_repeat", 0), ("written", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} = {getattr(self, name)}; expected at least {least}")
        require_range(self, ("length_penalty",))

    def require_room(self, most: int) -> None:
        """Requires that summaries of at most so many tokens can be long enough.

        Raises:
          InputError: they cannot.
        """
        if self.shortest > most:
            raise InputError(
                f"shortest = {self.shortest}; expected at most the tokens of a summary,"
                f" --summary-length {most}"
            )

    def options(self) -> dict[str, Any]:
        """Returns those options of `SummarySearch` that are flags."""
        names = ("beams", "length_penalty", "stop", "shortest", "no_repeat")
        return {name: getattr(self, name) for name in names}


def published_prefix(weights: Weights) -> str:
    """Returns the text that tells published weights to summarize, or none."""
    return published_options(weights, "summarization").get("prefix", "")


def published_writing(weights: Weights) -> dict[str, Any]:
    """Returns the flags of published weights of texts to texts that are used as they are."""
    found = published_options(weights, "summarization")
    return {
        "document_length": _PUBLISHED_DOCUMENT,
        "batch_size": 1,
        "beams": _PUBLISHED_BEAMS,
        **search_flags(found),
        "no_repeat": found.get("no_repeat_ngram_size", 0),
        # Theirs count the start token, and the longest the end as well.
        "shortest": max(found.get("min_length", 0) - 1, 0),
        "summary_length": max(found.get("max_length", _PUBLISHED_SUMMARY) - 2, 1),
    }
