"""Numbers and abbreviations as they are said."""

import pytest

from jaxmodels.data.text.spoken import cardinal, ordinal, spoken_form, year

CASES = {
    "42": "forty two",
    "room 0": "room zero",
    "1,234,567 people": "one million two hundred thirty four thousand five hundred sixty seven"
    " people",
    "007": "zero zero seven",
    "3.14 and -5": "three point one four and minus five",
    "50% of 1.5%": "fifty percent of one point five percent",
    "the 22nd, 3rd and 112th": "the twenty second, third and one hundred twelfth",
    "In 1905, 1984 and 2004.": "In nineteen oh five, nineteen eighty four and two thousand four.",
    "1000 or 1900 or 3000": "one thousand or nineteen hundred or three thousand",
    "the 1990s and '80s": "the nineteen nineties and eighties",
    "Dr. Smith, Mr. Lee and Mrs. Day": "Doctor Smith, Mister Lee and Missis Day",
    "St. James on Main St.": "Saint James on Main street",
    "e.g. cats, i.e. pets, etc.": "for example cats, that is pets, et cetera",
    "No. 5 of Acme Inc.": "number five of Acme Incorporated",
    "$5, $1.01, $0.50": "five dollars, one dollar one cent, fifty cents",
    "$2.5 million or $3 billion": "two point five million dollars or three billion dollars",
    "£1 or £3.02, €1,200": "one pound or three pounds two pence, one thousand two hundred euros",
    "May 17, 1999": "May seventeenth, nineteen ninety nine",
    "Jan. 5 or 2024-05-17": "January fifth or May seventeenth twenty twenty four",
    "9:05, 10:30 and 12:00": "nine oh five, ten thirty and twelve o'clock",
    "salt & pepper": "salt and pepper",
    # What belongs to a word, or means nothing, stays.
    "class1 a1b2 v1.2 R&D": "class1 a1b2 v1.2 R&D",
    "  two   words ": "two words",
    "": "",
}


@pytest.mark.parametrize("text", CASES)
def test_texts(text):
    assert spoken_form(text) == CASES[text]


def test_words_of_numbers_can_be_read_back():
    ones = cardinal(1_000_000)
    assert ones == "one million" and cardinal(10**15) == "one" + " zero" * 15
    values = {cardinal(number): number for number in range(20)}
    values |= {cardinal(10 * tens): 10 * tens for tens in range(2, 10)}
    for number in [*range(1, 2000, 7), 10_017, 999_999, 123_456_789_012, 40_000_000_000_003]:
        total, part = 0, 0
        for word in cardinal(number).split():
            if word == "hundred":
                part *= 100
            elif word in values:
                part += values[word]
            else:
                scale = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
                total += part * scale.get(word, 10**12)
                part = 0
        assert total + part == number


def test_places_and_years():
    assert [ordinal(n) for n in (1, 12, 20, 35, 100)] == [
        "first",
        "twelfth",
        "twentieth",
        "thirty fifth",
        "one hundredth",
    ]
    assert [year(n) for n in (1066, 1100, 2000, 2009, 2010)] == [
        "ten sixty six",
        "eleven hundred",
        "two thousand",
        "two thousand nine",
        "twenty ten",
    ]
