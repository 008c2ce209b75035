"""The lines of a text file that a user names, to predict for."""

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.text.documents import why_undecodable
from jaxmodels.errors import InputError

Line = tuple[str, BadRecord | None]  # a text, and why it cannot be used
_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OTHER_KINDS = (".json", ".jsonl", ".ndjson", ".parquet", ".gz")


def given_lines(path: Path, what: str) -> list[Line]:
    """Reads all lines of a file of UTF-8, without the mark before it and the ends of lines, which
    are those of any system. None is left out, so that lines of predictions can be told by number.

    what: a line of the file, for the error: "a sentence".

    Raises:
      InputError: no file, one of another kind or of UTF-16, or no line with a visible character.
    """
    if path.name.lower().endswith(_OTHER_KINDS):
        raise InputError(f"input = {path}; it is no plain text: expected {what} a line")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"input = {path}; it cannot be read: {error.strerror}") from None
    if content.startswith(_OTHER_ENCODINGS):
        raise InputError(
            f"input = {path}; it is UTF-16: expected UTF-8, iconv -f utf-16 -t utf-8 FILE > NEW"
        )
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        raise InputError(f"input = {path}; it has no line of text: expected {what} a line")
    lines = content.removesuffix(b"\n").split(b"\n")
    return [_line(line.removesuffix(b"\r")) for line in lines]


def given_texts(given: Path | Iterable[object], what: str) -> Iterator[Line]:
    """Reads the lines of a file as `given_lines` does, or checks texts of a notebook."""
    return iter(given_lines(given, what)) if isinstance(given, Path) else map(given_text, given)


def given_text(text: object) -> Line:
    """Requires a text with a visible character."""
    if not isinstance(text, str):
        return repr(text), BadRecord("is no text", "broken")
    return text, None if text.strip() else BadRecord("has no visible character", "empty")


def _line(line: bytes) -> Line:
    try:
        return given_text(line.decode())
    except UnicodeDecodeError as error:
        return line.decode("utf-8", "replace"), BadRecord(why_undecodable(error), "undecodable")
