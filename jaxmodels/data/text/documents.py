"""Documents: whole records, or the lines or paragraphs in them, or all records as one."""

import re
from collections.abc import Iterator
from typing import Literal, get_args

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.text.records import Piece, TextRecords

Documents = Literal["auto", "whole", "line", "paragraph", "joined"]
DOCUMENTS = get_args(Documents)
_PROBED = 1000  # records that "auto" looks at
# Blank lines may have spaces, and any system's line ends. They divide paragraphs only where
# something follows, because blank lines at the end of a piece may go on in the next one.
_DIVIDERS = {
    "line": re.compile(rb"\r?\n"),
    "paragraph": re.compile(rb"\r?\n(?:[ \t]*\r?\n)+(?=[ \t]*[^\s])"),
}
_HELD = 1 << 22  # bytes of a line or paragraph from which on its beginning is passed on
_KEPT = 1 << 10  # bytes that are held back then, because a divider may begin in them


def what_documents_are(records: TextRecords, documents: Documents) -> Documents:
    """Resolves "auto": "joined" where the records are the lines of a running text, as WikiText's,
    else "whole".

    Lines are taken for a running text if, of the first thousand, none holds another line and more
    than a tenth are blank.
    """
    if documents != "auto":
        return documents
    blank, seen = 0, 0
    for piece in records.pieces():
        if not piece.last or (isinstance(piece.text, bytes) and b"\n" in piece.text.strip()):
            return "whole"
        blank += isinstance(piece.text, bytes) and not piece.text.strip()
        seen += 1
        if seen == _PROBED:
            break
    return "joined" if seen > 1 and 10 * blank > seen else "whole"


def documents_of(records: TextRecords, documents: Documents) -> Iterator[Piece]:
    """Yields all documents of a split, in pieces. The row of a piece is that of its record.

    A line is one without its end. Paragraphs are what blank lines divide. With "joined" all
    records make one document, and each ends with a new line.
    """
    if documents == "joined":
        yield from _joined(records)
    elif documents in _DIVIDERS:
        yield from _divided(records, _DIVIDERS[documents])
    else:
        yield from records.pieces()


def _joined(records: TextRecords) -> Iterator[Piece]:
    row, tail, whole = 0, b"", True
    for row, text, last in records.pieces():
        if last and whole and isinstance(text, bytes):
            text = undecodable(text) or text
        whole = last
        if isinstance(text, BadRecord):
            # Only this record is bad; the document goes on after it.
            yield Piece(row, text, last=False)
            continue
        if text:
            yield Piece(row, text, last=False)
        tail = text[-1:] or tail
        if last and tail != b"\n":
            yield Piece(row, b"\n", last=False)
        tail = b"" if last else tail
    yield Piece(row, b"")


def _divided(records: TextRecords, divider: re.Pattern) -> Iterator[Piece]:
    held = b""
    for row, text, last in records.pieces():
        if isinstance(text, BadRecord):
            yield Piece(row, text)
            held = b""
            continue
        *whole, held = divider.split(held + text)
        for document in whole:
            yield Piece(row, document)
        if last:
            if held := held.rstrip(b"\r\n"):
                yield Piece(row, held)
            held = b""
        elif len(held) > _HELD:
            yield Piece(row, held[:-_KEPT], last=False)
            held = held[-_KEPT:]


def undecodable(text: bytes) -> BadRecord | None:
    """Returns what is wrong with a text that is no UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return BadRecord(why_undecodable(error))
    return None


def why_undecodable(error: UnicodeDecodeError) -> str:
    """Says why a text is no UTF-8, in words that follow the name of its record."""
    return f"is no UTF-8: {error.reason} ({error.object[error.start]:#04x}); convert it"
