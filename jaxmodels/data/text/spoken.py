"""The spoken form of written English: numbers, money, dates and abbreviations as words."""

import re

_TO_NINETEEN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
_ONES = _TO_NINETEEN.split()
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_MONEY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_PENCE = {"penny": "pence"}
_YEAR = "January February March April May June July August September October November December"
_MONTHS = _YEAR.split()
_SHORT_MONTHS = {month[:3]: month for month in _MONTHS if len(month) > 4} | {"Sept": "September"}
_TITLES = {
    "mr": "mister",
    "mrs": "missis",
    "ms": "miz",
    "dr": "doctor",
    "prof": "professor",
    "rev": "reverend",
    "gen": "general",
    "col": "colonel",
    "capt": "captain",
    "lt": "lieutenant",
    "sgt": "sergeant",
    "hon": "honorable",
}
_ABBREVIATIONS = {
    "jr": "junior",
    "sr": "senior",
    "co": "company",
    "ltd": "limited",
    "inc": "incorporated",
    "dept": "department",
    "ave": "avenue",
    "blvd": "boulevard",
    "mt": "mount",
    "vs": "versus",
    "etc": "et cetera",
    "approx": "approximately",
}
_MONTH = "|".join(_MONTHS)
_FREE = r"(?<![\w.,])"  # nothing that belongs to a number or word stands before
_DIGITS = r"\d{1,3}(?:,\d{3})+|\d+"
_END = r"(?![\w])"


def cardinal(number: int) -> str:
    """Returns the words of a whole number of at most 15 digits; a longer one is said by its digits.

    It has neither "and" nor hyphens: "one hundred twenty three".
    """
    if number >= 10**15:
        return " ".join(_ONES[int(digit)] for digit in str(number))
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _joined(_TENS[number // 10 - 2], number % 10)
    if number < 1000:
        return _joined(f"{_ONES[number // 100]} hundred", number % 100)
    scale, name = next(pair for pair in _SCALES if number >= pair[0])
    return _joined(f"{cardinal(number // scale)} {name}", number % scale)


def ordinal(number: int) -> str:
    """Returns the words of the place of a number: "twenty second"."""
    *before, last = cardinal(number).split()
    if last in _ORDINALS:
        last = _ORDINALS[last]
    elif last.endswith("y"):
        last = f"{last[:-1]}ieth"
    else:
        last += "th"
    return " ".join([*before, last])


def year(number: int) -> str:
    """Returns the words of a year from 1000 to 2999: "nineteen oh five", "two thousand one"."""
    century, rest = divmod(number, 100)
    if century % 10 == 0 and rest < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def spoken_form(text: str) -> str:
    """Returns a text with what is not said as it is written replaced by words.

    Abbreviations (with their point), money, percentages, dates (2024-05-17, May 17), times (9:05),
    ordinals, decades, decimals and whole numbers are spelled. Four digits from 1001 to 2999
    without a comma are read as a year, as most are. Digits that are part of a word stay.
    """
    for pattern, said in _RULES:
        text = pattern.sub(said, text)
    return " ".join(text.split())


def _joined(words: str, rest: int) -> str:
    return f"{words} {cardinal(rest)}" if rest else words


def _whole(digits: str) -> str:
    """Says the digits of a number, which may have commas."""
    number = int(digits.replace(",", ""))
    if digits.startswith("0") and len(digits) > 1:
        return " ".join(_ONES[int(digit)] for digit in digits)
    is_year = 1000 < number < 3000 and "," not in digits
    return year(number) if is_year else cardinal(number)


def _decimal(found: re.Match) -> str:
    whole = cardinal(int(found["whole"].replace(",", "")))
    return f"{whole} point {' '.join(_ONES[int(digit)] for digit in found['digits'])}"


def _money(found: re.Match) -> str:
    unit, small = _MONEY[found["sign"]]
    amount, digits, scale = int(found["whole"].replace(",", "")), found["digits"], found["scale"]
    if scale or (digits and len(digits) != 2):
        said = _decimal(found) if digits else cardinal(amount)
        return f"{said} {scale} {unit}s" if scale else f"{said} {unit}s"
    cents = int(digits or 0)
    said = [_counted(amount, unit)] if amount or not cents else []
    return " ".join([*said, *([_counted(cents, small)] if cents else [])])


def _counted(count: int, unit: str) -> str:
    return f"{cardinal(count)} {unit if count == 1 else _PENCE.get(unit, unit + 's')}"


def _time(found: re.Match) -> str:
    hour, minute = int(found["hour"]), int(found["minute"])
    if not minute:
        return f"{cardinal(hour)} o'clock"
    return f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"


def _date(found: re.Match) -> str:
    month, day = _MONTHS[int(found["month"]) - 1], ordinal(int(found["day"]))
    return f"{month} {day} {_whole(found['year'])}"


def _decade(found: re.Match) -> str:
    *before, last = _whole(found["digits"]).split()
    last = f"{last[:-1]}ies" if last.endswith("y") else f"{last}s"
    return " ".join([*before, last])


def _abbreviated(table: dict[str, str]):
    def said(found: re.Match) -> str:
        word = table[found[1].lower()]
        return word.capitalize() if found[1][0].isupper() else word

    return said


def _rule(pattern: str, said, flags: int = 0):
    return re.compile(pattern, flags), said


_ANY = re.IGNORECASE
_RULES = [
    _rule(r"\b(e\.g\.),?", "for example", _ANY),
    _rule(r"\b(i\.e\.),?", "that is", _ANY),
    # A saint stands before a name, a street behind one.
    _rule(r"\bSt\.(?=\s+[A-Z])", "Saint"),
    _rule(r"\bst\.(?=\s|$|,)", "street", _ANY),
    _rule(r"\bNo\.(?=\s*\d)", "number "),
    _rule(rf"\b({'|'.join(_TITLES)})\.(?=\s)", _abbreviated(_TITLES), _ANY),
    _rule(rf"\b({'|'.join(_ABBREVIATIONS)})\.(?!\w)", _abbreviated(_ABBREVIATIONS), _ANY),
    _rule(
        rf"\b({'|'.join(_SHORT_MONTHS)})\.(?=\s+\d)",
        lambda found: _SHORT_MONTHS[found[1]],
    ),
    _rule(
        rf"{_FREE}(?P<year>\d{{4}})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01]){_END}",
        _date,
    ),
    _rule(
        rf"\b({_MONTH}) (\d{{1,2}})(?!\d|st|nd|rd|th|:)",
        lambda found: f"{found[1]} {ordinal(int(found[2]))}",
    ),
    _rule(
        rf"(?P<sign>[$£€])(?P<whole>{_DIGITS})(?:\.(?P<digits>\d+))?(?!\d)"
        r"(?: (?P<scale>thousand|million|billion|trillion)\b)?",
        _money,
    ),
    _rule(rf"{_FREE}(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d){_END}", _time),
    _rule(
        rf"{_FREE}({_DIGITS})(?:st|nd|rd|th){_END}",
        lambda found: ordinal(int(found[1].replace(",", ""))),
        _ANY,
    ),
    _rule(rf"{_FREE}'?(?P<digits>\d\d(?:\d\d)?)s{_END}", _decade),
    _rule(r"(?:(?<=\s)|^)[-−](?=[\d])", "minus "),
    _rule(rf"{_FREE}(?P<whole>{_DIGITS})\.(?P<digits>\d+)(?![\w])", _decimal),
    _rule(rf"{_FREE}({_DIGITS}){_END}", lambda found: _whole(found[1])),
    _rule(r"\s*%", " percent"),
    _rule(r"(?:(?<=\s)|^)&(?=\s|$)", "and"),
]
