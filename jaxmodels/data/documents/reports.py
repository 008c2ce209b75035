"""Reports of a night's watch that a small grammar generates, with the summary that its rule gives.

They are no real text. Each report has several troubles among other news, in any order, and the
summary tells of the gravest. Names and numbers are drawn anew for each report, so that those of a
test report are in no training report: only copying can produce them, and only from the right place.
"""

from collections.abc import Sequence

import numpy as np

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, ArrayRecords, Dataset

NAME = "reports"
_SIZES = {TRAIN: 4000, VALIDATION: 500, TEST: 500}
_VERSION = "1"

_TROUBLES = ("draught", "squeak", "leak", "crack", "flood", "fire")  # the gravest is the last
_THINGS = ("boiler", "crane", "lift", "turbine", "conveyor", "furnace")
_TIMES = ("before midnight", "at dawn", "after supper", "around two", "during the storm")
_SYLLABLES = tuple(first + second for first in "bdfgklmnprstvz" for second in "aeo")
_ENDINGS = ("n", "r", "s", "l", "x", "k", "m", "th")
_FEWEST, _MOST = 2, 3  # troubles of a report
_NEWS = 3


class _Writer:
    """A generator of sentences with fresh names and numbers."""

    def __init__(self, seed: int):
        self._draw = np.random.default_rng(seed)

    def one(self, words: Sequence[str]) -> str:
        """Draws one of several words."""
        return words[int(self._draw.integers(len(words)))]

    def name(self) -> str:
        """Draws a name of three syllables."""
        return "".join(self.one(_SYLLABLES) for _ in range(3)).capitalize() + self.one(_ENDINGS)

    def number(self) -> str:
        """Draws a number of five digits."""
        return str(int(self._draw.integers(10_000, 100_000)))

    def news(self) -> str:
        """Writes what does not matter."""
        forms = (
            f"{self.name()} checked the {self.one(_THINGS)} {self.one(_TIMES)}.",
            f"The {self.one(_THINGS)} {self.number()} ran for hours.",
            f"{self.name()} asked {self.name()} about the {self.one(_THINGS)}.",
            f"Form {self.number()} was signed by {self.name()}.",
        )
        return self.one(forms)

    def report(self) -> tuple[list[str], str]:
        """Writes the sentences of a report, and its summary."""
        count = int(self._draw.integers(_FEWEST, _MOST + 1))
        grades = self._draw.choice(len(_TROUBLES), count, replace=False).tolist()
        sentences, summaries = [], {}
        for grade in grades:
            trouble, name, valve = _TROUBLES[grade], self.name(), self.number()
            told = self.one((f"{name} found a {trouble}", f"A {trouble} was found by {name}"))
            sentences.append(f"{told} at valve {valve} {self.one(_TIMES)}.")
            summaries[grade] = f"{trouble.capitalize()} at valve {valve}, says {name}."
        sentences += [self.news() for _ in range(_NEWS)]
        order = self._draw.permutation(len(sentences))
        return [sentences[place] for place in order], summaries[max(grades)]


def reports() -> Dataset:
    """Makes the data set: 5,000 reports, the same on every machine."""
    writer, splits = _Writer(0), {}
    for split, size in _SIZES.items():
        columns = {name: np.empty(size, object) for name in ("document", "summaries")}
        for row in range(size):
            sentences, summary = writer.report()
            columns["document"][row] = [sentence.encode() for sentence in sentences]
            columns["summaries"][row] = [summary.encode()]
        splits[split] = ArrayRecords(columns)
    return Dataset(NAME, _VERSION, f"{NAME}-{_VERSION}", splits)
