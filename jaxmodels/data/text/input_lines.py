"""Texts that a user names to predict for: the lines of a file, or strings in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.text.documents import why_undecodable
from jaxmodels.errors import InputError

Checked = tuple[str, BadRecord | None]  # a text, and what is wrong with it


def read_lines(path: Path, expected: str) -> list[bytes]:
    """Reads the lines of a text file, without their ends.

    expected: what the file should have, as "a sentence a line", for the message.

    Raises:
      InputError: it cannot be read, or has no visible character.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"input = {path}; it cannot be read: {error.strerror}") from None
    if not content.strip():
        raise InputError(f"input = {path}; it has no line of text: expected {expected}")
    return [line.removesuffix(b"\r") for line in content.removesuffix(b"\n").split(b"\n")]


def checked_texts(given: Path | Sequence[Any], expected: str) -> Iterator[Checked]:
    """Checks each line of a file, or each of several strings.

    expected: as in `read_lines`.

    Raises:
      InputError: as `read_lines`.
    """
    if isinstance(given, Path):
        return map(_checked_line, read_lines(given, expected))
    return map(_checked_text, given)


def _checked_line(line: bytes) -> Checked:
    try:
        return _checked_text(line.decode())
    except UnicodeDecodeError as error:
        return line.decode("utf-8", "replace"), BadRecord(why_undecodable(error))


def _checked_text(text: Any) -> Checked:
    if not isinstance(text, str):
        return repr(text), BadRecord("is no text", "broken")
    return text, None if text.strip() else BadRecord("has no visible character", "empty")
