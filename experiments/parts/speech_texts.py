"""The texts that a synthesis says: spelled out, and as numbers of characters or of sounds."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.text.given import given_texts
from jaxmodels.data.text.spoken import spoken_form
from jaxmodels.errors import InputError, require_known
from jaxmodels.models.letters_to_sounds import load_pronunciation
from jaxmodels.pretrained import open_weights
from jaxmodels.roles import Role
from jaxmodels.train.start import fingerprint_of

_SIGNS = {"*": "star", "#": "hash"}
_PAUSE = " "  # between the sounds of words


@dataclass(frozen=True, kw_only=True)
class TextsConfig:
    """How texts are read."""

    units: Literal["characters", "phones"] = "characters"
    """characters, or the sounds of English that --g2p makes of them."""
    g2p: Annotated[str, Role.HOW] = ""
    """File with the weights of g2p_en (checkpoint20.npz of the package), for phones."""

    def validate(self) -> None:
        """Raises InputError for phones without weights, or weights without phones."""
        require_known("units", self.units, ("characters", "phones"))
        if (self.units == "phones") != bool(self.g2p):
            raise InputError(
                f"units, g2p = {self.units}, {self.g2p or 'none'}; expected both --units phones and"
                " --g2p FILE.npz, or neither"
            )


class Texts(NamedTuple):
    """The texts of classes, as numbers of units."""

    words: tuple[str, ...]  # of each class
    units: tuple[str, ...]  # the first has the number 1
    longest: int
    split: Callable[[str], list[str]]  # a text that is spelled -> its units
    kind: str = "character"

    def tokens(self, text: str) -> Int[np.ndarray, " unit"]:
        """Makes a row of numbers of a text.

        Raises:
          BadRecord: a unit that no training text has, or more units than one has.
        """
        split = self.split(text)
        unknown = [unit for unit in split if unit not in self.units]
        if unknown or not split:
            what = f"has the {self.kind} '{unknown[0]}'" if unknown else "is empty"
            known = ("" if self.kind == "character" else " ").join(self.units)
            raise BadRecord(f"{what}; expected some of '{known}'", "text")
        if len(split) > self.longest:
            what = f"has {len(split)} {self.kind}s; expected {self.longest}"
            raise BadRecord(what, "overlong")
        row = np.zeros(self.longest, np.int32)
        row[: len(split)] = [self.units.index(unit) + 1 for unit in split]
        return row

    def facts(self) -> dict[str, Any]:
        """Returns what identifies the texts, for the record of a run."""
        if self.kind == "character":
            return {"texts": list(self.words)}
        return {"texts": list(self.words), "phones": [" ".join(self.split(w)) for w in self.words]}


def texts_of(names: Sequence[str], config: TextsConfig = TextsConfig()) -> Texts:
    """Makes the texts of classes.

    Raises:
      InputError: other weights, or a class without letters of which sounds could be made.
    """
    words = tuple(spelled(name) for name in names)
    split: Callable[[str], list[str]] = list
    if config.units == "phones":
        split = _Sounds(config.g2p)
    try:
        units = [split(word) for word in words]
    except BadRecord as error:
        raise InputError(f"units = phones; a class {error}") from None
    known = tuple(sorted({unit for some in units for unit in some}))
    kind = config.units.removesuffix("s")
    return Texts(words, known, max(map(len, units)), split, kind)


def spelled(text: str) -> str:
    """Returns a text in small letters as it is said: numbers, signs and abbreviations as words."""
    text = text.strip()
    return _SIGNS.get(text) or spoken_form(text).lower()


def read_texts(
    given: Path | Sequence[str], texts: Texts, speaker: int
) -> Iterator[tuple[str, Mapping[str, Any] | BadRecord]]:
    """Yields each line of a text file, or each of several strings, with its columns; in place of
    these the error of a line that cannot be used.

    Raises:
      InputError: no file, or no line.
    """
    for line, error in given_texts(given, "a text"):
        yield line, error or _columns(line, texts, speaker)


def _columns(line: str, texts: Texts, speaker: int) -> Mapping[str, Any] | BadRecord:
    try:
        return {"tokens": texts.tokens(spelled(line)), "speaker": np.int32(speaker)}
    except BadRecord as error:
        return error


class _Sounds:
    """Makes the sounds of a text: of its words, with a pause between two. Accents are left out, and
    punctuation is not heard."""

    def __init__(self, path: str):
        self._pronounce = load_pronunciation(path)

    def __call__(self, text: str) -> list[str]:
        plain = unicodedata.normalize("NFD", text)
        plain = "".join(c for c in plain if unicodedata.category(c) != "Mn").lower()
        unread = re.findall(r"[^\W_a-z]", plain)
        if unread:
            raise BadRecord(f"has the letter '{unread[0]}'; expected a to z", "text")
        words = re.findall(r"[a-z]+(?:'[a-z]+)*", plain)
        sounds: list[str] = []
        for phones in self._pronounce(words):
            sounds += [*([_PAUSE] if sounds else []), *phones]
        return sounds


def fingerprint_of_g2p(config: TextsConfig) -> dict[str, Any]:
    """Returns the hash of the weights that make sounds, for the record of a run."""
    return {"g2p": fingerprint_of(open_weights(config.g2p))} if config.g2p else {}
