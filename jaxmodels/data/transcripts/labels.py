"""The labels of texts for connectionist temporal classification: characters or words, from 1 on,
since 0 is the blank."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

UNITS = ("characters", "words")
FORMS = ("plain", "kept")


def in_form(text: str, form: str) -> str:
    """Brings a text to a form: plain, small letters, digits and apostrophes, with one space between
    words; kept, as it is but for runs of white space."""
    if form == "plain":
        text = unicodedata.normalize("NFKC", text).replace("’", "'").lower()
        text = "".join(
            c if c.isalnum() or c in "'*#" or unicodedata.combining(c) else " " for c in text
        )
        text = re.sub(r"(?<!\w)'|'(?!\w)", " ", text)
    return " ".join(text.split())


@dataclass(frozen=True)
class Labels:
    """The characters or words of training texts."""

    unit: str
    known: tuple[str, ...]  # the first has the label 1

    @property
    def size(self) -> int:
        """The number of labels, the blank included."""
        return len(self.known) + 1

    @property
    def name(self) -> str:
        """The unit."""
        return self.unit

    @property
    def fingerprint(self) -> str:
        """What changes when the labels of a text do."""
        text = json.dumps([self.unit, self.known])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {unit: place for place, unit in enumerate(self.known, 1)}

    def unknown_in(self, text: str) -> list[str]:
        """Lists the units of a text that training texts lack."""
        return [unit for unit in self._units(text) if unit not in self._places]

    def encode(self, text: str) -> Int[np.ndarray, " label"]:
        """Returns the labels of a text, without units that training texts lack."""
        found = [self._places[unit] for unit in self._units(text) if unit in self._places]
        return np.array(found, np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """Returns the text of labels."""
        between = " " if self.unit == "words" else ""
        return " ".join(between.join(self.known[token - 1] for token in tokens).split())

    def _units(self, text: str) -> list[str]:
        return text.split() if self.unit == "words" else list(text)


def labels_of(texts: Iterable[str], unit: str) -> Labels:
    """Makes the labels of training texts, in the order of the alphabet."""
    found: set[str] = set()
    for text in texts:
        found.update(text.split() if unit == "words" else text)
    return Labels(unit, tuple(sorted(found)))
