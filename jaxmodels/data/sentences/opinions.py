"""Opinions that a small grammar generates, with the label that its rules give them.

They are no real text. A bag of words cannot solve them, because the label hangs on order: negation
turns a word around ("not dull"), what follows "but" outweighs what comes before it, what others say
does not count, and half of the adjectives describe things that are not judged.
"""

from collections.abc import Sequence

import numpy as np

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, ArrayRecords, Dataset

NAME = "opinions"
NAMES = ("negative", "positive")
_SIZES = {TRAIN: 6000, VALIDATION: 1000, TEST: 1000}
_VERSION = "1"

_WORDS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "adjective": (
        ("dull", "clumsy", "shallow", "tiresome", "awful", "lifeless", "forgettable", "messy"),
        ("charming", "gripping", "tender", "clever", "superb", "vivid", "memorable", "graceful"),
    ),
    "verb": (
        ("hated", "regretted", "disliked", "endured"),
        ("loved", "enjoyed", "admired", "treasured"),
    ),
}
_THINGS = ("plot", "acting", "script", "music", "ending", "dialogue", "pace", "camera work")
_KINDS = ("film", "movie", "comedy", "drama", "thriller", "sequel")
_OTHERS = ("my neighbour", "the poster", "one critic", "the trailer", "everybody else")
_FACTS = (
    "it runs for two hours",
    "we saw it on a rainy evening",
    "it is set in a coastal town",
    "the cinema was half empty",
    "the story spans three decades",
)
_DEGREES = ("", "", "rather ", "truly ", "quite ")


class _Writer:
    """A generator of clauses; each returns words of the polarity asked, 0 or 1."""

    def __init__(self, seed: int):
        self._draw = np.random.default_rng(seed)

    def _one(self, words: Sequence[str]) -> str:
        return words[int(self._draw.integers(len(words)))]

    def _chance(self, share: float) -> bool:
        return bool(self._draw.random() < share)

    def clause(self, polarity: int) -> str:
        """Writes a judgement. Half of them say the opposite with a negation."""
        negated = self._chance(0.5)
        adjectives, verbs = (_WORDS[kind][polarity ^ negated] for kind in ("adjective", "verb"))
        if self._chance(0.3):
            verb = self._one(verbs)
            return f"i never {verb} the {self._thing()}" if negated else f"i {verb} it all"
        be = self._one(("is not", "was hardly", "is never")) if negated else "is"
        degree = "" if negated else self._one(_DEGREES)
        return f"the {self._thing()} {be} {degree}{self._one(adjectives)}"

    def _thing(self) -> str:
        return self._one(_THINGS if self._chance(0.7) else _KINDS)

    def hearsay(self) -> str:
        """Writes what somebody else says, which does not count."""
        adjective = self._one(_WORDS["adjective"][int(self._draw.integers(2))])
        return f"{self._one(_OTHERS)} called the {self._one(_KINDS)} {adjective}"

    def opinion(self, polarity: int) -> str:
        """Writes one line."""
        text = self.clause(polarity)
        if self._chance(0.5):
            joint = self._one((" , but ", " ; still , "))
            text = self.clause(1 - polarity) + joint + text
        if self._chance(0.4):
            aside = self.hearsay() if self._chance(0.6) else self._one(_FACTS)
            text = f"{text} ; {aside}" if self._chance(0.5) else f"{aside} ; {text}"
        return text + " ."


def opinions() -> Dataset:
    """Makes the data set: 8,000 lines, no two of which are equal, half of each label. They are the
    same on every machine."""
    writer, known = _Writer(0), set()
    splits = {}
    for split, size in _SIZES.items():
        texts: list[bytes] = []
        labels = []
        while len(texts) < size:
            label = len(texts) % 2
            text = writer.opinion(label)
            if text not in known:
                known.add(text)
                texts.append(text.encode())
                labels.append(label)
        column = np.empty(size, object)
        column[:] = texts
        splits[split] = ArrayRecords({"text": column, "label": np.array(labels, np.int32)})
    return Dataset(NAME, _VERSION, f"{NAME}-{_VERSION}", splits, {"label": NAMES})
