"""Documents are the same however the text is read."""

import re

import pytest

from jaxmodels.data.dataset import BadRecord
from jaxmodels.data.text import documents as module
from jaxmodels.data.text import records as reading
from jaxmodels.data.text.documents import documents_of, what_documents_are
from jaxmodels.data.text.records import TextFiles, texts_in_memory

TEXTS = ["\n\nFirst line.\nSecond.\n\n  \n\tNew é.\r\n\r\nLast\n", "", "alone", "a\n\n\n", "b\nc"]


def stored(*texts):
    return texts_in_memory([text.encode() for text in texts])


def gathered(records, documents):
    """The documents with the rows of their records."""
    found, text = [], b""
    for row, piece, last in documents_of(records, documents):
        text += piece
        if last:
            found.append((row, text.decode()))
            text = b""
    assert not text
    return found


def expected(documents):
    if documents == "joined":
        ended = (text if text.endswith("\n") else text + "\n" for text in TEXTS)
        return [(4, "".join(ended))]
    found = []
    for row, text in enumerate(TEXTS):
        if documents == "whole":
            found.append((row, text))
        elif documents == "line":
            lines = re.split("\r?\n", text)
            found += [(row, line) for line in lines[: len(lines) - (not lines[-1])]]
        else:
            found += [(row, part.strip("\r\n")) for part in re.split(r"\n\s*\n(?=\s*\S)", text)]
    return found


@pytest.mark.parametrize("documents", ["whole", "line", "paragraph", "joined"])
@pytest.mark.parametrize("piece", [None, 1, 2, 3, 7, 1000])
def test_documents_of_records_and_of_files_in_pieces(tmp_path, monkeypatch, documents, piece):
    if piece is None:
        found = gathered(stored(*TEXTS), documents)
    else:
        monkeypatch.setattr(reading, "PIECE", piece)
        for number, text in enumerate(TEXTS):
            (tmp_path / str(number)).write_bytes(text.encode())
        found = gathered(TextFiles(tmp_path, [str(row) for row in range(len(TEXTS))]), documents)
    wanted = expected(documents)
    if documents == "paragraph":  # what has no visible character is left out later
        found, wanted = (
            [(r, t.strip("\r\n\t ")) for r, t in some if t.strip()] for some in (found, wanted)
        )
    assert found == wanted


def test_a_long_line_is_passed_on_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "PIECE", 8)
    monkeypatch.setattr(module, "_HELD", 16)
    monkeypatch.setattr(module, "_KEPT", 4)
    line = "0123456789" * 9
    (tmp_path / "a").write_text(f"{line}\nend")
    records = TextFiles(tmp_path, ["a"])
    pieces = list(documents_of(records, "line"))
    assert max(len(text) for _, text, _ in pieces if isinstance(text, bytes)) < 30
    assert gathered(records, "line") == [(0, line), (0, "end")]


def test_records_that_cannot_be_read(tmp_path):
    (tmp_path / "a").write_text("text")
    records = TextFiles(tmp_path, ["gone", "a"])
    for documents in ("whole", "line", "paragraph"):
        [bad, good] = [piece for piece in documents_of(records, documents) if piece.text]
        assert (
            isinstance(bad.text, BadRecord) and bad.last and str(bad.text).startswith("cannot be")
        )
        assert good.text == b"text"
    with pytest.raises(BadRecord, match="cannot be read: No such file"):
        records.read([1, 0])
    joined = list(documents_of(stored("a"), "joined"))
    assert [piece.last for piece in joined] == [False, False, True]


def test_an_undecodable_line_does_not_spoil_a_joined_text():
    records = texts_in_memory([b"a", b"\xff", b"b"])
    pieces = list(documents_of(records, "joined"))
    assert [str(p.text) for p in pieces if isinstance(p.text, BadRecord)] == [
        "is no UTF-8: invalid start byte (0xff); convert it"
    ]
    assert b"".join(p.text for p in pieces if isinstance(p.text, bytes)) == b"a\nb\n"


def test_lines_of_a_running_text_are_joined():
    lines = stored(" = Title = ", "", " A line . ", " ", " And more . ")
    assert what_documents_are(lines, "auto") == "joined"
    assert what_documents_are(lines, "line") == "line"
    assert what_documents_are(stored("a\nb", ""), "auto") == "whole"
    assert what_documents_are(stored(*["A document."] * 10, ""), "auto") == "whole"
    assert what_documents_are(stored("One"), "auto") == "whole"
