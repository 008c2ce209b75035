"""Dates as people write them in English and in German, with what ISO 8601 writes for them.

They are generated, so that a model of text to text has data that needs no download. A model has to
read numbers and names of months in two languages, ordinals, two orders of day and month that the
language or the mark between them tells apart, years of two digits, and to ignore the day of the
week. No date of one split is in another, however it is written.
"""

import datetime

import numpy as np

from jaxmodels.data.carving import share
from jaxmodels.data.dataset import TEST, TRAIN, VALIDATION, ArrayRecords, Dataset

NAME = "dates"
_VERSION = "1"
_SIZES = {TRAIN: 20_000, VALIDATION: 500, TEST: 1000}
_PARTS = {TEST: 0.1, VALIDATION: 0.15, TRAIN: 1.0}  # upper bounds of a date's hash
_FIRST, _DAYS = datetime.date(1930, 1, 1), 36_524  # to the end of 2029: years of two digits are one

_ENGLISH = "January February March April May June July August September October November December"
_GERMAN = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
_WEEK = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_WOCHE = "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag"
_FIRSTS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth"
    " fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
_ERSTE = (
    "erste zweite dritte vierte fünfte sechste siebte achte neunte zehnte elfte zwölfte dreizehnte"
    " vierzehnte fünfzehnte sechzehnte siebzehnte achtzehnte neunzehnte zwanzigste"
)
_UNITS = "ein zwei drei vier fünf sechs sieben acht neun"


def dates() -> Dataset:
    """Makes the data set, which is the same on every machine: no two sources of it are equal."""
    writer, known = _Writer(0), set()
    splits = {}
    for split, size in _SIZES.items():
        sources: list[bytes] = []
        targets: list[bytes] = []
        while len(sources) < size:
            day, text = writer.date()
            if _split_of(day) == split and text not in known:
                known.add(text)
                sources.append(text.encode())
                targets.append(day.isoformat().encode())
        columns = {"source": np.empty(size, object), "target": np.empty(size, object)}
        columns["source"][:], columns["target"][:] = sources, targets
        splits[split] = ArrayRecords(columns)
    return Dataset(NAME, _VERSION, f"{NAME}-{_VERSION}", splits)


def _split_of(day: datetime.date) -> str:
    place = share(day.isoformat())
    return next(split for split, bound in _PARTS.items() if place < bound)


class _Writer:
    """A generator of dates and their texts."""

    def __init__(self, seed: int):
        self._draw = np.random.default_rng(seed)

    def _number(self, count: int) -> int:
        return int(self._draw.integers(count))

    def _one(self, *words: str) -> str:
        return words[self._number(len(words))]

    def date(self) -> tuple[datetime.date, str]:
        """Draws a date and writes it."""
        day = _FIRST + datetime.timedelta(days=self._number(_DAYS))
        text = self._one(*(_in_english if self._number(2) else _in_german)(day, self))
        return day, self._one(text, text, text, text.lower(), text.upper())

    def year(self, day: datetime.date) -> str:
        """Writes the year, now and then by its last two digits."""
        return self._one(f"{day.year}", f"{day.year}", f"{day.year}", f"{day.year % 100:02}")

    def padded(self, number: int) -> str:
        """Writes a number, perhaps with two digits."""
        return self._one(f"{number}", f"{number:02}")


def _in_english(day: datetime.date, writer: _Writer) -> list[str]:
    """Writes a date in all forms of English that are drawn from."""
    year, number = str(day.year), day.day
    month, short = _ENGLISH.split()[day.month - 1], _ENGLISH.split()[day.month - 1][:3]
    week = writer._one("", f"{_WEEK.split()[day.weekday()]}, ")
    return [
        f"{week}{month} {number}, {year}",
        f"{week}{month} {_ordinal(number)}, {year}",
        f"{week}{number} {month} {year}",
        f"{week}the {_ordinal(number)} of {month} {year}",
        f"the {_ordinal_word(number)} of {month}, {year}",
        f"{short}. {number}, {writer.year(day)}",
        f"{number} {short} {year}",
        f"{writer.padded(day.month)}/{writer.padded(number)}/{writer.year(day)}",
    ]


def _in_german(day: datetime.date, writer: _Writer) -> list[str]:
    """Writes a date in all forms of German that are drawn from."""
    year, number = str(day.year), day.day
    month = _GERMAN.split()[day.month - 1]
    week = _WOCHE.split()[day.weekday()]
    return [
        f"{number}. {month} {year}",
        f"{week}, {number}. {month} {year}",
        f"{week}, den {number}. {month} {year}",
        f"der {_ordnungszahl(number)} {month} {year}",
        f"{number}. {month[:3]}. {writer.year(day)}",
        f"am {number}. {month} des Jahres {year}",
        f"{writer.padded(number)}.{writer.padded(day.month)}.{writer.year(day)}",
        f"{week[:2]}, {writer.padded(number)}. {writer.padded(day.month)}. {year}",
    ]


def _ordinal(number: int) -> str:
    """Writes 1st, 2nd, 3rd, 4th, ..."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number < 14 else ending}"


def _ordinal_word(number: int) -> str:
    """Writes an English ordinal of up to 31 as a word."""
    if number <= 20:
        return _FIRSTS.split()[number - 1]
    if number == 30:
        return "thirtieth"
    return f"{'twenty' if number < 30 else 'thirty'}-{_FIRSTS.split()[number % 10 - 1]}"


def _ordnungszahl(number: int) -> str:
    """Writes a German ordinal of up to 31 as a word."""
    if number <= 20:
        return _ERSTE.split()[number - 1]
    tens = "zwanzigste" if number < 30 else "dreißigste"
    return f"{_UNITS.split()[number % 10 - 1]}und{tens}" if number % 10 else tens
