"""The topics of Python's own help: 400 kB of English that every CPython carries."""

import hashlib
import platform
import re
from collections.abc import Mapping

from jaxmodels.data.dataset import TRAIN, Dataset
from jaxmodels.data.text.records import texts_in_memory
from jaxmodels.errors import InputError

NAME = "pydoc"
_BLANK_LINES = re.compile(r"\n\s*\n")
_SHORT = 100  # characters of a paragraph that may be in two topics by chance


def open_pydoc() -> Dataset:
    """Opens the topics of `help()`, a document each. Topics that are a part of another one are left
    out: "for" is a section of "compound". Versions of Python have different texts, and so different
    fingerprints.

    Raises:
      InputError: a Python without them.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            f"data '{NAME}' are the topics of pydoc, which this Python lacks; name other data, as"
            " --data ./book.txt"
        ) from None
    names = whole_topics(topics)
    texts = [topics[name].encode() for name in names]
    return Dataset(
        NAME,
        f"python{platform.python_version()}",
        fingerprint_of_texts({TRAIN: texts}, names),
        {TRAIN: texts_in_memory(texts, names)},
    )


def whole_topics(topics: Mapping[str, str]) -> list[str]:
    """Returns the names of the topics that are not part of another one: no longer topic has all of
    their long paragraphs. Of equal topics it is the first."""
    order = sorted(topics, key=lambda name: (-len(topics[name]), name))
    long = {name: _long_paragraphs(topics[name]) for name in order}
    whole = []
    for place, name in enumerate(order):
        if not any(long[name] <= long[longer] for longer in order[:place]):
            whole.append(name)
    return sorted(whole)


def _long_paragraphs(text: str) -> set[str]:
    paragraphs = (part.strip() for part in _BLANK_LINES.split(text))
    return {part for part in paragraphs if len(part) >= _SHORT}


def fingerprint_of_texts(splits: dict[str, list[bytes]], names: list[str] | None = None) -> str:
    """Hashes texts in memory, with their names and splits: 16 digits."""
    digest = hashlib.sha256(repr(names).encode())
    for split, texts in splits.items():
        digest.update(f"{split} {len(texts)} ".encode())
        for text in texts:
            digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()[:16]
