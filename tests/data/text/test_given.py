"""Lines that a user names to predict for."""

import pytest

from jaxmodels.data.text.given import given_lines
from jaxmodels.data.text.lines import read_text_lines
from jaxmodels.data.text.tokenizers import Bytes
from jaxmodels.errors import InputError

CONTENT = "\ufeffone\r\n\r\ntwo\u2028three\x0bfour\x85\n \t\n".encode() + b"caf\xe9\nlast"
NAMES = ["one", "", "two\u2028three\x0bfour\x85", " \t", "caf\ufffd", "last"]


def test_each_line_of_a_file_is_there_whatever_system_wrote_it(tmp_path):
    path = tmp_path / "new.txt"
    path.write_bytes(CONTENT)
    lines = given_lines(path, "a text")
    assert [text for text, _ in lines] == NAMES
    told = [str(error)[:12] for _, error in lines]
    assert told == ["None", "has no visib", "None", "has no visib", "is no UTF-8:", "None"]
    found = list(read_text_lines(path, Bytes(), context=4, stride=4))
    assert [name for name, _ in found] == NAMES
    # Neither the mark of UTF-8 nor the end of a line counts.
    columns = found[0][1]
    assert not isinstance(columns, Exception)
    assert columns["bytes"] == 3 and columns["scored"].sum() == 3
    assert [str(error)[:12] for _, error in (found[1], found[4])] == [told[1], told[4]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"text": "one"}\n', "it is no plain text: expected a text a line"),
        (b"\xef\xbb\xbf\n \n", "has no line of text: expected a text a line"),
        ("one\ntwo\n".encode("utf-16"), "it is UTF-16: expected UTF-8"),
        (None, "it cannot be read: No such file"),
    ],
)
def test_a_file_without_lines_is_refused(tmp_path, content, told):
    path = tmp_path / ("new.jsonl" if "plain" in told else "new.txt")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        given_lines(path, "a text")
