"""Notes that templates and lists of words make, with the tags of the names, places, organisations
and dates in them.

They are no real text. Words alone do not solve them: many names are made of syllables, so that
training does not have those of an evaluation, "Florence" is a person or a city, "May" a person or a
month, and organisations bear names of people and of cities. A model has to read what stands around.
"""

import random
from collections.abc import Sequence

from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from jaxmodels.data.tagged.reading import Sentence, records_of

NAME = "notes"
TAGS = ("O", "B-DATE", "I-DATE", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
_VERSION = "1"
_SIZES = {TRAIN: 4000, VALIDATION: 500, TEST: 1000}

_BOTH = "Florence Paris Chelsea Jordan Austin Charlotte Victoria Sydney Lincoln Madison"
_GIVEN = (
    "Anna Boris Clara David Elena Farid Grace Henry Irene Jonas Karin Louis Maria Nadia Oscar Paula"
    " May April June"
)
_FAMILY = (
    "Abbott Berger Castillo Dubois Eriksen Fischer Garcia Hoffmann Ivanova Jensen Kowalski Lindberg"
    " Moreau Novak Okafor Peters Quist Rossi Schmidt Tanaka"
)
_PLACES = (
    "Berlin|Lisbon|Oslo|Vienna|New York|Cairo|Lima|Nairobi|Kyoto|Rio de Janeiro|Prague|Dublin"
    "|San Francisco|Helsinki|Porto|Naples"
)
_SYLLABLES = "ba be bo da do fa ka ki la lo ma mi na no pa ra ri sa ta to va vo"
_MADE = 0.3  # of the names in training that syllables make, and twice that elsewhere
_FIELDS = "Shipping Bank Motors Foods Energy Books Travel Steel Airlines Software"
_ENDS = ("Ltd", "Inc", "Group", "& Sons")
_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_TEMPLATES = (
    "{PER} met {PER} in {LOC} on {DATE} .",
    "{PER} will fly to {LOC} on {DATE} .",
    "On {DATE} , {PER} left {ORG} .",
    "{ORG} opens an office in {LOC} .",
    "{ORG} bought {ORG} for two million .",
    "The letter from {PER} arrived on {DATE} .",
    "Ask {PER} about the train to {LOC} .",
    "{LOC} is too hot in summer , said {PER} .",
    "{PER} , who works for {ORG} , was born in {LOC} .",
    "We sold the house in {LOC} last year .",
    "Please call {PER} before {DATE} .",
    "The meeting with {ORG} is on {DATE} in {LOC} .",
    "it may rain on {DATE} , but {PER} will come .",
    "They march through {LOC} every spring .",
    "Nobody at {ORG} had heard of {PER} .",
    "The weather is fine and the shop is closed .",
    "Flights from {LOC} to {LOC} cost more since {DATE} .",
    "{PER} and {PER} moved to {LOC} .",
)


class _Writer:
    """A generator of notes of one split."""

    def __init__(self, seed: int, made: float):
        self._draw = random.Random(seed).random  # of which Python promises that it never changes
        self._made = made

    def one(self, values: Sequence[str]) -> str:
        """Draws one of several values."""
        return values[int(self._draw() * len(values))]

    def _name(self, names: str, between: str | None = None) -> str:
        if self._draw() >= self._made:
            return self.one(names.split(between))
        count = 2 + int(self._draw() * 2)
        return "".join(self.one(_SYLLABLES.split()) for _ in range(count)).capitalize()

    def person(self) -> str:
        """Writes a name of a person."""
        given = self.one(_BOTH.split()) if self._draw() < 0.3 else self._name(_GIVEN)
        return self.one([given, f"{given} {self._name(_FAMILY)}", f"Dr. {self._name(_FAMILY)}"])

    def place(self) -> str:
        """Writes a name of a place."""
        return self.one(_BOTH.split()) if self._draw() < 0.3 else self._name(_PLACES, "|")

    def organisation(self) -> str:
        """Writes a name of an organisation."""
        first = self.one([self.place(), self._name(_FAMILY)])
        return f"{first} {self.one([self.one(_FIELDS.split()), self.one(_ENDS)])}"

    def date(self) -> str:
        """Writes a date."""
        day, month = 1 + int(self._draw() * 28), self.one(_MONTHS.split())
        year = 1990 + int(self._draw() * 40)
        whole = f"{day} {month} {year}", f"{month} {day} , {year}"
        return self.one([*whole, f"{month} {day}", f"{month} {year}", self.one(_DAYS.split())])

    def note(self) -> Sentence:
        """Writes one sentence with its tags."""
        makers = {
            "PER": self.person,
            "LOC": self.place,
            "ORG": self.organisation,
            "DATE": self.date,
        }
        words: list[str] = []
        tags: list[str] = []
        for part in self.one(_TEMPLATES).split():
            kind = part.strip("{}")
            found = makers[kind]().split() if part.startswith("{") else [part]
            words += found
            marks = [f"{mark}-{kind}" for mark in ("B", *"I" * (len(found) - 1))]
            tags += marks if part.startswith("{") else ["O"]
        return Sentence(tuple(words), tuple(tags))


def notes() -> Dataset:
    """Makes the data set: 5,500 notes, no two of which are equal, the same on every machine."""
    known, splits = set(), {}
    for seed, (split, size) in enumerate(_SIZES.items()):
        writer, some = _Writer(seed, _MADE if split == TRAIN else 2 * _MADE), []
        while len(some) < size:
            note = writer.note()
            if note.words not in known:
                known.add(note.words)
                some.append(note)
        splits[split] = records_of(some, TAGS)
    return Dataset(NAME, _VERSION, f"{NAME}-{_VERSION}", splits, {"tags": TAGS})
