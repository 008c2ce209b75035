"""Pictures, texts and sounds as elements of a page that hold their files' content."""

import base64
import codecs
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jaxmodels.report.html import Html, element

_PNG = b"\x89PNG\r\n\x1a\n"
_WIDE = 900  # pixels from which a picture needs a row of its own
_MOST_TEXT = 20_000  # bytes of a text in the page
_OPEN_LINES, _OPEN_CHARACTERS = 12, 1200  # the beginning of a text that is not folded away


class Sample(NamedTuple):
    """A file that fits into the page.

    size: bytes of the file that the page takes.
    draw: makes the element from a caption and further attributes.
    """

    size: int
    draw: Callable[..., Html]
    is_wide: bool = False


def read_picture(path: Path, room: int) -> Sample | None:
    """Reads a PNG file; None for another file, and for one of more than `room` bytes."""
    content = _read_whole(path, room)
    if content is None or not content.startswith(_PNG) or len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    draw = partial(_picture, source, {"width": width, "height": height})
    return Sample(len(content), draw, is_wide=width >= _WIDE)


def read_sound(path: Path, room: int) -> Sample | None:
    """Reads a WAV file; None for another file, and for one of more than `room` bytes."""
    content = _read_whole(path, room)
    if content is None or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    source = f"data:audio/wav;base64,{base64.b64encode(content).decode()}"
    return Sample(len(content), partial(_sound, source))


def read_text(path: Path, room: int) -> Sample | None:
    """Reads the beginning of a file of text or of JSON lines; None where there is no room."""
    most = min(_MOST_TEXT, room)
    if most <= 0:
        return None
    with open(path, "rb") as file:
        content = file.read(most)
        is_cut = bool(file.read(1))
    # Without `final`, the decoder leaves out a character that the end cuts in two.
    text = codecs.getincrementaldecoder("utf-8-sig")("replace").decode(content, final=not is_cut)
    if path.suffix.lower() == ".jsonl":
        lines = text.splitlines()
        text = "\n".join(map(_fields, lines[:-1] if is_cut else lines))
    note = f"The page has the first {most:,} bytes of samples/{path.name}." if is_cut else None
    return Sample(len(content), partial(_text, text.rstrip(), note))


def _read_whole(path: Path, room: int) -> bytes | None:
    """Reads a file of at most `room` bytes; None for a larger one."""
    return path.read_bytes() if path.stat().st_size <= room else None


def _fields(line: str) -> str:
    """Writes the fields of a JSON object below one another, so that their line breaks are seen."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(value, dict):
        return line
    parts = {
        n: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for n, v in value.items()
    }
    return "".join(f"{name}: {part}\n" for name, part in parts.items())


def _picture(source: str, size: dict[str, int], caption: str, **attributes: object) -> Html:
    """Makes an image that says what it shows."""
    return element("img", src=source, alt=caption, **size, **attributes)


def _sound(source: str, caption: str, **attributes: object) -> Html:
    """Makes a player, which is told its length but plays nothing by itself."""
    label = {"aria_label": caption}
    return element("audio", src=source, controls=True, preload="metadata", **label, **attributes)


def _beginning(text: str) -> tuple[str, str]:
    """Divides a text into what is shown at once and the rest, between two lines if possible."""
    beginning = ""
    for line in text.splitlines(keepends=True)[:_OPEN_LINES]:
        if len(beginning) + len(line) > _OPEN_CHARACTERS:
            break
        beginning += line
    beginning = beginning or text[:_OPEN_CHARACTERS]
    return beginning.rstrip(), text[len(beginning) :].strip("\r\n")


def _text(text: str, note: str | None, caption: str, **attributes: object) -> Html:
    """Makes a box of the first lines and, folded away, the rest."""
    if not text:
        return element(
            "div", element("span", "empty", class_="absent"), class_="text", **attributes
        )
    beginning, rest = _beginning(text)
    folded = None
    if rest:
        count = len(rest.splitlines())
        more = f"{count:,} more lines" if count > 1 else f"{len(rest):,} more characters"
        folded = element("details", element("summary", more), element("pre", rest, dir="auto"))
    return element(
        "div",
        element("pre", beginning, dir="auto", aria_label=caption),
        folded,
        element("p", note, class_="note") if note else None,
        class_="text",
        **attributes,
    )
